"""Guesses how values are written: only what fits all values is proposed."""

from __future__ import annotations

import pytest

from batch_predictions.sources.checking.value_guesses import (
    guess_number_format,
    guess_time_format,
    guess_value_map,
)


@pytest.mark.parametrize(
    ("values", "pattern", "rival"),
    [
        (["13.05.2026 10:15", "01.06.2026 09:00"], "%d.%m.%Y %H:%M", None),
        (["13/05/2026", "01/06/2026"], "%d/%m/%Y", None),
        (["05/13/2026", "06/01/2026"], "%m/%d/%Y", None),
        (["05/06/2026", "06/01/2026"], "%d/%m/%Y", "%m/%d/%Y"),
        (["05/13/2026 01:05 PM"], "%m/%d/%Y %I:%M %p", None),
        (["2026-01-05", "soon"], None, None),
        ([], None, None),
    ],
)
def test_times(values: list[str], pattern: str | None, rival: str | None) -> None:
    assert guess_time_format(values) == (pattern, rival)


@pytest.mark.parametrize(
    ("values", "example"),
    [
        (["1.164,60", "4,90", "12"], "1.234,56"),
        (["€ 1.164,60", "4,90 EUR"], "1.234,56"),
        (["1,0000", "0,2340"], "1.234,56"),
        (["1,164"], "1,234.56"),
        (["1 164,60", "1 200"], "1 234,56"),
        (["1,164.60", "12"], "1,234.56"),
        (["$12.50", "$3.00"], "1,234.56"),
        (["12.50", "3"], None),
        (["1.164,60", "1,164.60"], None),
        (["many"], None),
        ([], None),
        (["999.50", "1,234.56"], "1,234.56"),
        (["999,50", "1 234,56"], "1 234,56"),
        (["999.50", "1'234"], "1'234.56"),
    ],
)
def test_numbers(values: list[str], example: str | None) -> None:
    assert guess_number_format(values) == example


def test_maps_of_values() -> None:
    assert guess_value_map("available", ["Active", "draft", "true"]) == {
        "Active": "true",
        "draft": "false",
    }
    assert guess_value_map("gender", ["female", "Herr", "x"]) == {"Herr": "male"}
    assert guess_value_map("brand", ["active"]) == {}
