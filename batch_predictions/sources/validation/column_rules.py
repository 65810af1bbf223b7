"""Rules of the columns of raw tables: SQL of the converted value and of the reason of a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from batch_predictions.sources.base import MAX_DATE
from batch_predictions.sources.sql_literals import quote_literal
from batch_predictions.sources.validation.column_mapping import REQUIRED_COLUMNS
from batch_predictions.sources.validation.timestamps import NULL_TEXTS, day_sql, is_missing_sql
from batch_predictions.tables import Table

AGE_BRACKETS = ("under 19", "19-24", "25-34", "35-44", "45-54", "55-64", "65+")
"""Brackets of ages; a number is converted to its bracket."""

ColumnKind = Literal[
    "id", "text", "number", "date", "boolean", "age", "timestamp", "map", "choice", "placement"
]

_KIND_OF_COLUMN: dict[str, ColumnKind] = {
    "event_id": "id",
    "user_id": "id",
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
_KIND_OF_TYPE: dict[str, ColumnKind] = {"DOUBLE": "number", "BOOLEAN": "boolean"}
_CHOICES: dict[tuple[str, str], tuple[str, ...]] = {
    ("campaign_events", "event_type"): ("targeted", "redeemed", "listed"),
    ("reviews", "label"): ("negative", "neutral", "positive"),
}
# Bounds of numbers, and the text of the refusal.
_BOUNDS: dict[tuple[str, str], tuple[str, str]] = {
    ("reviews", "rating"): ("between 1 and 5", "is not between 1 and 5 stars: convert it"),
    ("items", "price"): (">= 0", "is not a price, because it is negative: correct it"),
    ("inventory", "on_order"): (">= 0", "is a negative number of units on order: correct it"),
}
_TRUE = "('true', 't', 'yes', 'y', '1', '1.0')"
_FALSE = "('false', 'f', 'no', 'n', '0', '0.0')"
# Without single letters, which are kinds of placement (F is the back page of a mailer).
_NO_PLACEMENT = "('false', 'no', 'none', '0', '0.0')"
_MAX_AGE = 120


@dataclass(frozen=True)
class ColumnRule:
    """The conversion and validation of one column of a raw table.

    In its methods, `raw` is SQL of the value as read and `type_` is its DuckDB type.
    """

    name: str
    kind: ColumnKind
    required: bool
    choices: tuple[str, ...] = ()
    bounds: tuple[str, str] | None = None
    timezone: str = "UTC"

    def value_sql(self, raw: str, type_: str) -> str:
        """SQL of the converted value; null for missing and unreadable values."""
        text = f"trim({raw}::VARCHAR)"
        is_missing = is_missing_sql(raw, type_)
        if self.kind == "id":
            return _id_sql(raw, type_)
        if self.kind == "number":
            number = f"try_cast({raw} as DOUBLE)"
            return f"case when not isnan({number}) then {number} end"
        if self.kind == "date":
            return day_sql(raw, type_, self.timezone)
        if self.kind == "boolean" and type_ != "BOOLEAN":
            lower = f"lower({text})"
            return f"case when {lower} in {_TRUE} then true when {lower} in {_FALSE} then false end"
        if self.kind == "age":
            return _age_bracket_sql(raw)
        if self.kind in ("boolean", "timestamp", "map"):
            return raw
        if self.kind == "placement":
            is_none = f"{is_missing} or lower({text}) in {_NO_PLACEMENT}"
            return f"case when not ({is_none}) then {text} end"
        if self.kind == "choice":
            return f"case when not {is_missing} then lower({text}) end"
        return f"nullif({text}, '')"

    def reason_sql(self, raw: str, type_: str, value: str) -> str | None:
        """SQL of the reason why a value is refused, null if it is valid; None if all are valid.

        Args:
            raw: SQL of the value as read.
            type_: its DuckDB type.
            value: SQL of the converted value, from `value_sql`.
        """
        cases = []
        if self.required:
            reason = f"{self.name} is empty: give every row one"
            cases.append(f"when {value} is null then {quote_literal(reason)}")
        for condition, text in self._refusals(raw, type_, value):
            shown = f"{quote_literal(self.name + ' ' + chr(39))} || left({raw}::VARCHAR, 60)"
            cases.append(f"when {condition} then {shown} || {quote_literal(chr(39) + ' ' + text)}")
        return f"case {' '.join(cases)} end" if cases else None

    def _refusals(self, raw: str, type_: str, value: str) -> list[tuple[str, str]]:
        """Conditions of refused values, and for each what the reason says of the value."""
        is_unreadable = f"{value} is null and not {is_missing_sql(raw, type_)}"
        if self.kind == "number":
            bounds = [(f"not ({value} {self.bounds[0]})", self.bounds[1])] if self.bounds else []
            number = "is not a number: write it as 12.50, without currency or other signs"
            finite = "is not finite: correct it or leave it empty"
            return [(is_unreadable, number), (f"not isfinite({value})", finite), *bounds]
        if self.kind == "date":
            is_implausible = f"{value} < DATE '1900-01-01' or {value} > DATE '{MAX_DATE}'"
            return [
                (is_unreadable, "is not a day: write 2024-01-31"),
                (is_implausible, f"is before 1900 or after {MAX_DATE.year}: correct it"),
            ]
        if self.kind == "boolean":
            return [(is_unreadable, "is not a truth value: write true or false")]
        if self.kind == "age":
            is_unknown = f"lower(trim({raw}::VARCHAR)) = 'unknown'"
            brackets = ", ".join(AGE_BRACKETS)
            text = (
                f"is not an age of 0 to {_MAX_AGE}, nor one of {brackets}: correct it, or leave it"
            )
            return [(f"{is_unreadable} and not {is_unknown}", f"{text} empty")]
        if self.kind == "choice":
            literals = ", ".join(quote_literal(choice) for choice in self.choices)
            text = f"is not one of {', '.join(self.choices)}: write one of them"
            return [(f"{value} not in ({literals})", text)]
        return []


def column_rules(table: Table, timezone: str) -> list[ColumnRule]:
    """The rules of the columns of a raw table that are read from a source."""
    rules = []
    for column in table.columns:
        if column.name in (table.partition, "simulated"):
            continue
        choices = _CHOICES.get((table.name, column.name), ())
        kind = _KIND_OF_COLUMN.get(column.name) or _KIND_OF_TYPE.get(column.type, "text")
        rules.append(
            ColumnRule(
                column.name,
                "choice" if choices else kind,
                column.name in REQUIRED_COLUMNS[table.name],
                choices,
                _BOUNDS.get((table.name, column.name)),
                timezone,
            )
        )
    return rules


def _id_sql(raw: str, type_: str) -> str:
    """SQL of an id as text. pandas turns 1 into 1.0 in a column with gaps; that is reverted."""
    if "INT" in type_:
        return f"{raw}::VARCHAR"
    if type_ in ("DOUBLE", "FLOAT"):
        return (
            f"case when isnan({raw}) then null when {raw} = trunc({raw}) and abs({raw}) < 1e15 "
            f"then {raw}::BIGINT::VARCHAR else {raw}::VARCHAR end"
        )
    text = f"trim({raw}::VARCHAR)"
    return (
        f"case when lower({text}) in {NULL_TEXTS} then null "
        f"when regexp_full_match({text}, '-?\\d+\\.0+') then split_part({text}, '.', 1) "
        f"else {text} end"
    )


def _age_bracket_sql(raw: str) -> str:
    """SQL of the bracket of an age; brackets may be written with other dashes or spaces."""
    lower = f"lower(trim({raw}::VARCHAR))"
    normalised = f"replace(replace(replace({lower}, '–', '-'), ' - ', '-'), ' +', '+')"
    brackets = ", ".join(quote_literal(bracket) for bracket in AGE_BRACKETS)
    number = f"try_cast({raw} as DOUBLE)"
    cases = "".join(
        f"when {number} < {bracket.split('-')[1]} + 1 then {quote_literal(bracket)} "
        for bracket in AGE_BRACKETS[1:-1]
    )
    return (
        f"case when {normalised} in ({brackets}) then {normalised} "
        f"when {number} is null or isnan({number}) or {number} < 0 or {number} > {_MAX_AGE} "
        f"then null when {number} < 19 then 'under 19' {cases}else '65+' end"
    )
