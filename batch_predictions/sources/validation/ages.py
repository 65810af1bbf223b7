"""Age brackets of ages and birthdays."""

from __future__ import annotations

from batch_predictions.warehouse.path_sql import quote_literal

AGE_BRACKETS = ("under 19", "19-24", "25-34", "35-44", "45-54", "55-64", "65+")
"""Brackets of ages; a number is converted to its bracket."""

MAX_AGE = 120
"""Higher ages are not read."""


def age_bracket_sql(raw: str) -> str:
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
        f"when {number} is null or isnan({number}) or {number} < 0 or {number} > {MAX_AGE} "
        f"then null when {number} < 19 then 'under 19' {cases}else '65+' end"
    )


def age_bracket_of_birthday_sql(birthday: str, day: str) -> str:
    """SQL of the age bracket of a birthday on a day."""
    return age_bracket_sql(f"date_sub('year', {birthday}, {day})")
