"""What each column of a raw table must be: SQL of its value, and of the reason it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from batch_predictions.sources.base import LATEST, quote_literal
from batch_predictions.sources.validation import timestamps as moments
from batch_predictions.sources.validation.column_mapping import REQUIRED
from batch_predictions.tables import Table

AGE_BRACKETS = ("under 19", "19-24", "25-34", "35-44", "45-54", "55-64", "65+")
"""Brackets of ages; a number is mapped to them."""

Kind = Literal[
    "id", "text", "number", "date", "boolean", "age", "moment", "map", "choice", "placement"
]

_KINDS: dict[str, Kind] = {
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
    "occurred_at": "moment",
    "written_at": "moment",
    "attributes": "map",
    "display": "placement",
    "mailer": "placement",
}
_OF_TYPE: dict[str, Kind] = {"DOUBLE": "number", "BOOLEAN": "boolean"}
_CHOICES: dict[tuple[str, str], tuple[str, ...]] = {
    ("campaign_events", "event_type"): ("targeted", "redeemed", "listed"),
    ("reviews", "label"): ("negative", "neutral", "positive"),
}
_TRUE = "('true', 't', 'yes', 'y', '1', '1.0')"
_FALSE = "('false', 'f', 'no', 'n', '0', '0.0')"
# No single letters: they are kinds of placement (F is the back page of a mailer).
_NOWHERE = "('false', 'no', 'none', '0', '0.0')"
_OLDEST = 120
# Bounds of numbers, and how the reason names them.
_BOUNDS: dict[tuple[str, str], tuple[str, str]] = {
    ("reviews", "rating"): ("between 1 and 5", "stars are 1 to 5: convert it"),
    ("items", "price"): (">= 0", "a price is not negative: correct it"),
    ("inventory", "on_order"): (">= 0", "what is under way is not negative: correct it"),
}


@dataclass(frozen=True)
class Field:
    """A column of a raw table, as it is checked."""

    name: str
    kind: Kind
    required: bool
    choices: tuple[str, ...] = ()
    bounds: tuple[str, str] | None = None
    timezone: str = "UTC"

    def value(self, raw: str, type_: str) -> str:
        """SQL of the declared value; null where there is none, or none that can be read."""
        text = f"trim({raw}::VARCHAR)"
        if self.kind == "id":
            return _id(raw, type_)
        if self.kind == "number":
            number = f"try_cast({raw} as DOUBLE)"
            return f"case when not isnan({number}) then {number} end"
        if self.kind == "date":
            return moments.day(raw, type_, moments.moment(raw, type_), self.timezone)
        if self.kind == "boolean":
            if type_ == "BOOLEAN":
                return raw
            folded = f"lower({text})"
            return (
                f"case when {folded} in {_TRUE} then true when {folded} in {_FALSE} then false end"
            )
        if self.kind == "age":
            return _age(raw, type_)
        if self.kind in ("moment", "map"):
            return raw
        if self.kind == "placement":
            nowhere = f"{moments.missing(raw, type_)} or lower({text}) in {_NOWHERE}"
            return f"case when not ({nowhere}) then {text} end"
        if self.kind == "choice":
            return f"case when not {moments.missing(raw, type_)} then lower({text}) end"
        return f"nullif({text}, '')"

    def reason(self, raw: str, type_: str, value: str) -> str | None:
        """SQL of why the value is refused, null where it is not; None where it never is."""
        shown = f"left({raw}::VARCHAR, 60)"
        given = f"not {moments.missing(raw, type_)}"

        def refuse(condition: str, what: str) -> str:
            head = quote_literal(f"{self.name} '")
            return (
                f"when {condition} then {head} || {shown} || {quote_literal(chr(39) + ' ' + what)}"
            )

        cases = []
        if self.required:
            text = f"{self.name} is empty: give every row one"
            cases.append(f"when {value} is null then {quote_literal(text)}")
        if self.kind == "number":
            cases += [
                refuse(
                    f"{value} is null and {given}",
                    "is not a number: write it as 12.50, without currency or other signs",
                ),
                refuse(f"not isfinite({value})", "is not finite: correct it or leave it empty"),
            ]
            if self.bounds:
                condition, remedy = self.bounds
                cases.append(refuse(f"not ({value} {condition})", f"cannot be; {remedy}"))
        elif self.kind == "date":
            cases += [
                refuse(f"{value} is null and {given}", "is not a day: write 2024-01-31"),
                refuse(
                    f"{value} < DATE '1900-01-01' or {value} >= DATE '{LATEST}'",
                    f"lies before 1900 or after {LATEST.year - 1}: correct it",
                ),
            ]
        elif self.kind == "boolean":
            cases.append(
                refuse(f"{value} is null and {given}", "is neither true nor false: write one")
            )
        elif self.kind == "age":
            cases.append(
                refuse(
                    f"{value} is null and {given} and lower(trim({raw}::VARCHAR)) <> 'unknown'",
                    f"is neither an age of 0 to {_OLDEST} nor one of {', '.join(AGE_BRACKETS)}: "
                    "write one of them, or nothing",
                )
            )
        elif self.kind == "choice":
            wanted = ", ".join(self.choices)
            listed = ", ".join(quote_literal(choice) for choice in self.choices)
            cases.append(
                refuse(f"{value} not in ({listed})", f"is not one of {wanted}: write one of them")
            )
        return f"case {' '.join(cases)} end" if cases else None


def fields_of(table: Table, timezone: str) -> list[Field]:
    """The columns of a raw table that a source gives, as they are checked."""
    found = []
    for column in table.columns:
        if column.name in (table.partition, "simulated"):
            continue
        choices = _CHOICES.get((table.name, column.name), ())
        kind = _KINDS.get(column.name) or _OF_TYPE.get(column.type, "text")
        found.append(
            Field(
                column.name,
                "choice" if choices else kind,
                column.name in REQUIRED[table.name],
                choices,
                _BOUNDS.get((table.name, column.name)),
                timezone,
            )
        )
    return found


def _id(raw: str, type_: str) -> str:
    """SQL of an id as text: pandas makes 1.0 of 1 where a column has a gap, so that is undone."""
    if "INT" in type_:
        return f"{raw}::VARCHAR"
    if type_ in ("DOUBLE", "FLOAT"):
        return (
            f"case when isnan({raw}) then null when {raw} = trunc({raw}) and abs({raw}) < 1e15 "
            f"then {raw}::BIGINT::VARCHAR else {raw}::VARCHAR end"
        )
    text = f"trim({raw}::VARCHAR)"
    return (
        f"case when lower({text}) in {moments.NOTHING} then null "
        f"when regexp_full_match({text}, '-?\\d+\\.0+') then split_part({text}, '.', 1) "
        f"else {text} end"
    )


def _age(raw: str, type_: str) -> str:
    """SQL of the bracket of an age, or of a bracket that is written with other dashes or spaces."""
    folded = f"lower(trim({raw}::VARCHAR))"
    spelled = f"replace(replace(replace({folded}, '–', '-'), ' - ', '-'), ' +', '+')"
    listed = ", ".join(quote_literal(bracket) for bracket in AGE_BRACKETS)
    number = f"try_cast({raw} as DOUBLE)"
    steps = "".join(
        f"when {number} < {bracket.split('-')[1]} + 1 then {quote_literal(bracket)} "
        for bracket in AGE_BRACKETS[1:-1]
    )
    return (
        f"case when {spelled} in ({listed}) then {spelled} "
        f"when {number} is null or isnan({number}) or {number} < 0 or {number} > {_OLDEST} "
        f"then null when {number} < 19 then 'under 19' {steps}else '65+' end"
    )
