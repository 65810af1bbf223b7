"""Rules of the columns of raw tables: SQL of the converted value and of the reason of a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from batch_predictions.settings import IdRule
from batch_predictions.sources.base import MAX_DATE, RAW_TABLES, SourceError
from batch_predictions.sources.validation.ages import AGE_BRACKETS, MAX_AGE, age_bracket_sql
from batch_predictions.sources.validation.column_mapping import BIRTHDAY, REQUIRED_COLUMNS
from batch_predictions.sources.validation.number_formats import suggestion_sql
from batch_predictions.sources.validation.timestamps import NULL_TEXTS, day_sql, is_missing_sql
from batch_predictions.tables import Table
from batch_predictions.tables.identifiers import MAX_ID_BYTES
from batch_predictions.warehouse.path_sql import quote_literal

REFUSING_COLUMNS: dict[str, tuple[str, ...]] = {
    "interactions": ("quantity", "amount"),
    "promotions": ("starts_on", "ends_on"),
    "promotion_calendar": ("starts_on", "ends_on"),
    "inventory": ("on_order",),
}
"""Columns besides `REQUIRED_COLUMNS` whose unreadable values refuse the row: without the value, the
row would say something else (money is missing, a promotion has no end, nothing is on order). An
unreadable value of any other column becomes null and is counted. Times of daily tables refuse the
row too, since it would have no day."""

ColumnKind = Literal[
    "id", "text", "number", "date", "boolean", "age", "timestamp", "map", "choice", "placement"
]

_KIND_OF_COLUMN: dict[str, ColumnKind] = {
    "event_id": "id",
    "user_id": "id",
    "alias": "id",
    "item_id": "id",
    "review_id": "id",
    "campaign_id": "id",
    "location": "id",
    "signed_up_on": "date",
    "starts_on": "date",
    "ends_on": "date",
    "age_bracket": "age",
    "occurred_at": "timestamp",
    "written_at": "timestamp",
    "attributes": "map",
    "display": "placement",
    "mailer": "placement",
}
_IDS_ALIKE = {"alias": "user_id"}
"""Columns of ids that are written by the rule of another column."""
_KIND_OF_TYPE: dict[str, ColumnKind] = {"DOUBLE": "number", "BOOLEAN": "boolean"}
_CHOICES: dict[tuple[str, str], tuple[str, ...]] = {
    ("campaign_events", "event_type"): ("targeted", "redeemed", "listed"),
    ("feedback", "event_type"): ("impression", "click", "purchase"),
    ("reviews", "label"): ("negative", "neutral", "positive"),
}
# What numbers must be, and what the reason says otherwise.
_BOUNDS: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    ("reviews", "rating"): (("between 1 and 5", "is not between 1 and 5 stars: convert it"),),
    ("items", "price"): ((">= 0", "is not a price, because it is negative: correct it"),),
    ("inventory", "on_order"): ((">= 0", "is a negative number of units on order: correct it"),),
}
# What days must not be.
_DATE_BOUNDS = (
    ("< DATE '1900-01-01'", f"is before 1900 or after {MAX_DATE.year}: correct it"),
    (f"> DATE '{MAX_DATE}'", f"is before 1900 or after {MAX_DATE.year}: correct it"),
)
_CONTROL = r"[\p{Cc}\x{200b}\x{2060}\x{feff}]"
"""Regular expression of a control character, and of spaces without a width."""
_NO_TEXT = r"'(\s|<[^>]*>|&nbsp;|\x00)*'"
"""Regular expression of a review of tags alone."""
_ATTRIBUTES = ("location", "gender")
"""Columns that are part of keys, as ids are, and may be empty."""
_TRUE = "('true', 't', 'yes', 'y', '1', '1.0')"
_FALSE = "('false', 'f', 'no', 'n', '0', '0.0')"
# Without single letters, which are kinds of placement (F is the back page of a mailer).
_NO_PLACEMENT = "('false', 'no', 'none', '0', '0.0')"


@dataclass(frozen=True)
class ColumnRule:
    """The conversion and validation of one column of a raw table.

    In its methods, `raw` is SQL of the value as read and `type_` is its DuckDB type. `bounds` are
    conditions after the value and what the reason says: of numbers, conditions that must hold; of
    days, conditions that must not.
    """

    name: str
    kind: ColumnKind
    required: bool
    choices: tuple[str, ...] = ()
    bounds: tuple[tuple[str, str], ...] = ()
    timezone: str = "UTC"
    table: str = ""
    naive_zone: str = "UTC"
    id_rule: IdRule | None = None

    @property
    def refuses(self) -> bool:
        """Whether an unreadable value refuses the row; else it becomes null and is counted."""
        return (
            self.required
            or (self.kind == "id" and self.name not in _ATTRIBUTES)
            or self.name in REFUSING_COLUMNS.get(self.table, ())
        )

    @property
    def allowed_values(self) -> tuple[str, ...]:
        """The values that the column may have; empty if there are none in particular."""
        if self.kind == "boolean":
            return ("true", "false")
        return AGE_BRACKETS if self.kind == "age" else self.choices

    def value_sql(self, raw: str, type_: str) -> str:
        """SQL of the converted value; null for missing and unreadable values."""
        text = f"trim({raw}::VARCHAR)"
        is_missing = is_missing_sql(raw, type_)
        if self.kind == "id":
            return _id_sql(raw, type_, self.id_rule)
        if self.kind == "number":
            number = f"try_cast({raw} as DOUBLE)"
            return f"case when not isnan({number}) then {number} end"
        if self.kind == "date":
            return day_sql(raw, type_, self.timezone, self.naive_zone)
        if self.kind == "boolean" and type_ != "BOOLEAN":
            lower = f"lower({text})"
            return f"case when {lower} in {_TRUE} then true when {lower} in {_FALSE} then false end"
        if self.kind == "age":
            return age_bracket_sql(raw)
        if self.kind in ("boolean", "timestamp", "map"):
            return raw
        if self.kind == "placement":
            is_none = f"{is_missing} or lower({text}) in {_NO_PLACEMENT}"
            return f"case when not ({is_none}) then {text} end"
        if self.kind == "choice":
            return f"case when not {is_missing} then lower({text}) end"
        if (self.table, self.name) == ("reviews", "text"):
            return f"case when not regexp_full_match({text}, {_NO_TEXT}) then {text} end"
        # A zero byte is in no text that a person writes, and PostgreSQL cannot hold it.
        return f"nullif(replace({text}, chr(0), ''), '')"

    def reason_sql(self, raw: str, type_: str, value: str, unread: str | None = None) -> str | None:
        """SQL of the reason why a value is not read, null if it is valid; None if all are valid.

        Args:
            raw: SQL of the value as read.
            type_: its DuckDB type.
            value: SQL of the converted value, from `value_sql`.
            unread: SQL of the reason that the source gives; None if it gives none.
        """
        cases = [f"when {unread} is not null then {unread}"] if unread else []
        for condition, text in self._refusals(raw, type_, value):
            start = f"regexp_replace(left({raw}::VARCHAR, 60), '{_CONTROL}', '?', 'g')"
            shown = f"{quote_literal(self.name + ' ' + chr(39))} || {start}"
            cases.append(
                f"when {condition} then {shown} || {quote_literal(chr(39) + ' ')} || {text}"
            )
        if self.required:
            reason = f"{self.name} is empty: give every row one"
            cases.append(f"when {value} is null then {quote_literal(reason)}")
        return f"case {' '.join(cases)} end" if cases else None

    def _refusals(self, raw: str, type_: str, value: str) -> list[tuple[str, str]]:
        """Conditions of values that are not read, and for each what the reason says, as SQL."""
        is_unreadable = f"{value} is null and not {is_missing_sql(raw, type_)}"
        if self.kind == "id" or self.name in _ATTRIBUTES:
            control = "has a control character (such as a zero byte or a line break): remove it"
            long = f"is longer than {MAX_ID_BYTES} bytes: give a shorter one, such as a hash of it"
            return [
                (f"regexp_matches({value}, '{_CONTROL}')", quote_literal(control)),
                (f"strlen({value}) > {MAX_ID_BYTES}", quote_literal(long)),
            ]
        if self.kind == "number":
            suggestion = suggestion_sql(self.table, self.name, f"{raw}::VARCHAR")
            otherwise = quote_literal("without currency or other signs")
            number = "is not a number: write it as 12.50, "
            finite = "is not finite: correct it or leave it empty"
            return [
                (is_unreadable, f"{quote_literal(number)} || coalesce({suggestion}, {otherwise})"),
                (f"not isfinite({value})", quote_literal(finite)),
                *((f"not ({value} {b})", quote_literal(text)) for b, text in self.bounds),
            ]
        if self.kind == "date":
            return [
                (is_unreadable, quote_literal(f"is not a day: write 2024-01-31, {self._format}")),
                *((f"{value} {b}", quote_literal(text)) for b, text in self.bounds),
            ]
        if self.kind == "boolean":
            text = (
                "is not a truth value: write true or false, or map it with source.values, such as "
                f"{{{self.table}: {{{self.name}: {{yes please: true}}}}}}"
            )
            return [(is_unreadable, quote_literal(text))]
        if self.kind == "age":
            is_unknown = f"lower(trim({raw}::VARCHAR)) = 'unknown'"
            text = (
                f"is not an age of 0 to {MAX_AGE}, nor one of {', '.join(AGE_BRACKETS)}: correct "
                "it, or leave it empty"
            )
            return [(f"{is_unreadable} and not {is_unknown}", quote_literal(text))]
        if self.kind == "choice":
            literals = ", ".join(quote_literal(choice) for choice in self.choices)
            text = (
                f"is not one of {', '.join(self.choices)}: write one of them, or map it with "
                f"source.values, such as {{{self.table}: {{{self.name}: "
                f"{{your value: {self.choices[0]}}}}}}}"
            )
            return [(f"{value} not in ({literals})", quote_literal(text))]
        return []

    @property
    def _format(self) -> str:
        return (
            "or declare the format with source.formats, such as "
            f'{{{self.table}: {{{self.name}: "%d.%m.%Y"}}}}'
        )


def column_rules(
    table: Table,
    timezone: str,
    ids: Mapping[str, IdRule] | None = None,
    naive_zone: str = "UTC",
) -> list[ColumnRule]:
    """The rules of the columns of a raw table that are read from a source.

    Args:
        table: the raw table.
        timezone: time zone of the business day.
        ids: the setting `source.ids`.
        naive_zone: time zone of times without an offset.
    """
    rules = []
    for column in table.columns:
        if column.name in (table.partition, "simulated"):
            continue
        choices = _CHOICES.get((table.name, column.name), ())
        kind = _KIND_OF_COLUMN.get(column.name) or _KIND_OF_TYPE.get(column.type, "text")
        bounds = _BOUNDS.get((table.name, column.name), ())
        rules.append(
            ColumnRule(
                column.name,
                "choice" if choices else kind,
                column.name in REQUIRED_COLUMNS[table.name],
                choices,
                _DATE_BOUNDS if kind == "date" else bounds,
                timezone,
                table.name,
                naive_zone,
                (ids or {}).get(_IDS_ALIKE.get(column.name, column.name)),
            )
        )
    return rules


def birthday_rule(timezone: str) -> ColumnRule:
    """The rule of the birthday of a user; `date` is SQL of the day of the snapshot."""
    bounds = (
        ("> date", "is after the day of the snapshot: correct it"),
        (f"< date - interval {MAX_AGE + 1} years", f"is over {MAX_AGE} years ago: correct it"),
    )
    return ColumnRule(BIRTHDAY, "date", False, (), bounds, timezone, "users")


def unread_column(name: str) -> str:
    """The column of `Source.rows_sql` with the reason why the value of a column is not read."""
    return f"unread {name}"


def validate_ids(ids: Mapping[str, IdRule]) -> None:
    """Checks the columns of the setting `source.ids`.

    Raises:
        SourceError: a column is no id.
    """
    known = dict.fromkeys(
        rule.name
        for table in RAW_TABLES
        for rule in column_rules(table, "UTC")
        if rule.kind == "id" and rule.name not in _IDS_ALIKE
    )
    for name in ids:
        if name not in known:
            raise SourceError(
                f"source.ids.{name}: there is no column of ids with that name; write one of "
                f"{', '.join(known)}"
            )


def _id_sql(raw: str, type_: str, rule: IdRule | None) -> str:
    """SQL of an id as text. pandas turns 1 into 1.0 in a column with gaps; that is reverted."""
    if "INT" in type_:
        return f"{raw}::VARCHAR"
    if type_ in ("DOUBLE", "FLOAT"):
        return (
            f"case when isnan({raw}) then null when {raw} = trunc({raw}) and abs({raw}) < 1e15 "
            f"then {raw}::BIGINT::VARCHAR else {raw}::VARCHAR end"
        )
    text = f"trim({raw}::VARCHAR)"
    kept = text if rule is None or rule.trim else f"{raw}::VARCHAR"
    if rule and rule.case != "keep":
        kept = f"{rule.case}({kept})"
    return (
        f"case when lower({text}) in {NULL_TEXTS} then null "
        f"when regexp_full_match({text}, '-?\\d+\\.0+') then split_part({text}, '.', 1) "
        f"else {kept} end"
    )
