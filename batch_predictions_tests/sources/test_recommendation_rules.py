"""Rules of recommendations as SQL: what is refused at the door, and the types of attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from batch_predictions.settings import Settings, SettingsError
from batch_predictions.sources.checking.check import check_source
from batch_predictions.sources.recommendation_rules import ItemRules, validate_rules
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.sales import write_items
from batch_predictions_tests.worlds.source_folders import SourceFolder


def settings_with(*rules: dict[str, Any], **others: Any) -> Settings:
    return Settings.model_validate({"recommendations": {"rules": rules}, **others})


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"exclude": "price < 5", "distinct": "title"},
        {"exclude": "price < 5", "by": 3},
        {"boost": "price < 5"},
        {"boost": "price < 5", "by": 0},
        {"exclude": ""},
        {"at_most": 3},
        {"per": "brand"},
        {"at_most": 0, "per": "brand"},
        {"hide": "price < 5"},
    ],
)
def test_a_rule_is_one_of_the_four_kinds(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings_with(rule)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("price <", "syntax error"),
        ("true; drop table x", "Parser Error"),
        ("price < (select 1)", "subquery"),
        ("random() < price", "calls random"),
        ("price < 5 and current_date > '2024-01-01'", "calls current_date"),
        ("sum(price) > 5", "aggregates"),
        ("row_number() over () < 5", "window"),
        ("lower(price) = '5'", "No function matches"),
        ("brand", "no condition but VARCHAR"),
        ("a > 1 and b > 1 and c > 1 and d > 1 and e > 1 and f > 1 and g > 1", "more than 6"),
    ],
)
def test_what_is_no_condition_over_an_item_is_refused(text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=r"recommendations\.rules") as error:
        ItemRules.of(settings_with({"exclude": text}))
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("price < 5 and brand = 'Own'", {}),
        ("attributes['margin'] = '0'", {}),
        ("list_contains(list_transform([1, 2], lambda x: x + price), 3)", {}),
        ("price < 5 or Margin < 0", {"margin": "DOUBLE"}),
        ("abs(margin) > 1", {"margin": "DOUBLE"}),
        ("margin < cost * 0.5", {"margin": "DOUBLE", "cost": "DOUBLE"}),
        ("margin < cost", {"margin": "DOUBLE", "cost": "DOUBLE"}),
        ("margin in (1, 2)", {"margin": "DOUBLE"}),
        ("margin = 0", {"margin": "DOUBLE"}),
        ("margin::DOUBLE > 1", {"margin": "DOUBLE"}),
        ("released::DATE > '2020-01-01'", {"released": "VARCHAR"}),
        ("colour = 'red'", {"colour": "VARCHAR"}),
        ("colour is null", {"colour": "VARCHAR"}),
        ("released < '2020-01-01'", {"released": "VARCHAR"}),
        ("colour = 'red' and weight > 3", {"colour": "VARCHAR", "weight": "DOUBLE"}),
    ],
)
def test_an_attribute_is_a_number_where_the_expression_needs_one(
    text: str, types: dict[str, str]
) -> None:
    assert ItemRules.of(settings_with({"exclude": text})).attributes == types


def test_an_attribute_has_one_type_in_all_rules() -> None:
    both = ItemRules.of(settings_with({"exclude": "margin < 0"}, {"at_most": 2, "per": "margin"}))
    assert both.attributes == {"margin": "DOUBLE"}
    with pytest.raises(SettingsError, match=r"attributes\['name'\]"):
        ItemRules.of(settings_with({"exclude": "size > 3"}, {"exclude": "lower(size) = 'xl'"}))


def test_limits_are_those_of_the_rules_after_that_of_categories() -> None:
    settings = Settings.model_validate(
        {
            "recommendations": {
                "per_category": 4,
                "rules": [{"distinct": "title"}, {"at_most": 3, "per": "lower(brand)"}],
            }
        }
    )
    assert ItemRules.of(settings).limits == (("category", 4), ("lower(brand)", 3), ("title", 1))


def test_rules_are_checked_against_the_items(warehouse: Warehouse) -> None:
    def check(*rules: dict[str, Any]) -> list[str]:
        return validate_rules(settings_with(*rules), warehouse)

    assert check({"exclude": "margn < 0"}) == [], "nothing is ingested yet"
    write_items(
        warehouse,
        {"item_id": "a", "attributes": {"Margin": "1.5", "colour": "red"}},
        {"item_id": "b", "attributes": {"Margin": "n/a", "colour": ""}},
    )
    assert check({"exclude": "margin < 0"}) == [
        "recommendations.rules read margin as a number, and 1 of its 2 values are none: rules take "
        "these items as if they had no margin"
    ]
    assert check({"exclude": "colour = 'red'"}) == []
    with pytest.raises(SettingsError, match=r"name margn: items have .*Margin, colour"):
        check({"exclude": "margn < 0"})
    with pytest.raises(SettingsError, match="cannot be evaluated for your items"):
        check({"exclude": "colour::DATE < '2024-01-01'"})


def test_check_source_tells_what_a_run_would_fail_on(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write(
        "interactions.csv", "user_id,item_id,date\nu,i,2024-01-05\n"
    )
    shop.write("items.csv", "item_id,title,margin\ni,Tea,3\nj,Tea,high\n")

    def report(*rules: dict[str, Any]) -> tuple[list[str], list[str]]:
        recommendations = settings_with(*rules).recommendations
        settings = shop.settings.model_copy(update={"recommendations": recommendations})
        checked = check_source(settings)
        return checked.problems, checked.questions

    [problem], _ = report({"exclude": "margn < 0"})
    assert "name margn" in problem and "margin" in problem
    [problem], _ = report({"exclude": "margin <"})
    assert "syntax error" in problem
    problems, questions = report({"exclude": "margin < 0"}, {"distinct": "title"})
    assert problems == [] and any("1 of its 2 values" in question for question in questions)
