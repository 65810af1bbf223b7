"""Predictive queries as settings, as a question and in Python; errors that say what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_predictions.features.history.history_sql import History
from batch_predictions.features.history.query_labels import check_query
from batch_predictions.planning.declarations import load_declarations, queries_of
from batch_predictions.settings import Settings, SettingsError
from batch_predictions.settings.predictive_query import PredictiveQuery, Target, describe_errors
from batch_predictions.tables import TABLES

QUESTIONS = {
    "sum(amount) of purchase for user in 28 days": "mean",
    "count(*) > 0 of purchase where category = 'TEA' for user in 14 days": "probability",
    "first(date) of purchase for user in 60 days": "first",
    "sum(-quantity) of return for item in 28 days": "mean",
    "top(5, category) of purchase for user in 14 days": "top",
    "avg(rating) of review for item in 56 days from 7": "mean",
    "count(distinct item_id) of purchase for user x category in 7 days among purchase_28d > 1": (
        "mean"
    ),
    "count(*) of purchase, return for location in 7 days": "mean",
}


@pytest.mark.parametrize(("question", "task"), QUESTIONS.items())
def test_a_question_is_parsed_and_written_again(question: str, task: str) -> None:
    query = PredictiveQuery.from_question(question)
    assert query.target.task == task
    assert query.question == question
    assert PredictiveQuery.from_question(query.question) == query


def test_settings_a_question_and_python_give_the_same_query() -> None:
    written = {"predict": "sum(amount)", "of": "purchase", "for": "user", "days": 28, "from": 7}
    settings = Settings.model_validate({"predictions": {"spend": written}})
    asked = PredictiveQuery.from_question(
        "predict sum(amount) of purchase for each user in 28 days from 7", "spend"
    )
    python = PredictiveQuery(
        name="spend", predict="sum(amount)", of="purchase", entity="user", days=28, starts_in=7
    )
    line = {"predictions": {"spend": "sum(amount) of purchase for user in 28 days from 7"}}
    assert settings.predictions["spend"] == asked == python
    assert Settings.model_validate(line).predictions["spend"] == asked


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("amount", "write sum(amount)"),
        ("median(amount)", "is not an aggregate"),
        ("sum(*)", "sum needs a column"),
        ("count(item_id)", "write count(*), or count(distinct item_id)"),
        ("first(amount)", "first(date)"),
        ("top(category)", "top(5, category)"),
    ],
)
def test_a_wrong_target_says_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as error:
        Target.parse(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"entity": "planet"}, "choose user, item, location, category"),
        ({"entity": "user x user"}, "is no entity"),
        ({"predict": "top(3, user_id)"}, "each has one value"),
        ({"predict": "top(3, category)", "entity": "user x location"}, "not for a pair"),
        ({"name": "Spend"}, "lower-case"),
        ({"days": 0}, "days"),
        ({"hours": 3}, "hours"),
    ],
)
def test_a_wrong_part_is_named(values: dict[str, object], message: str) -> None:
    query = {"name": "a", "predict": "count(*)", "of": "purchase", "entity": "user", "days": 7}
    with pytest.raises(ValueError, match=r"\w") as error:
        PredictiveQuery.model_validate({**query, **values})
    assert message in describe_errors(error.value)


def test_a_text_that_is_no_question_is_answered_with_an_example() -> None:
    with pytest.raises(SettingsError, match="write for instance"):
        PredictiveQuery.from_question("who will buy tea?")


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("sum(price_paid) of purchase for user in 7 days", "amount"),
        ("count(*) of purchase where colour = 'red' for user in 7 days", "no expression"),
        ("count(*) of purchase for user in 7 days among age > 3", "purchase_events_28d"),
        ("count(*) of purchase where (select 1) for user in 7 days", "has 'select'"),
        ("sum(item_id || ';') of purchase for user in 7 days", "has ';'"),
    ],
)
def test_unknown_columns_and_subqueries_are_refused(question: str, message: str) -> None:
    query = PredictiveQuery.from_question(question)
    with pytest.raises(SettingsError) as error:
        check_query(query, History.of((query,), ("purchase",)))
    assert message in str(error.value)


def _settings(home: Path, **predictions: dict[str, object]) -> Settings:
    return Settings.model_validate({"home": home, "predictions": predictions})


QUERY = {"predict": "count(*)", "of": "purchase", "for": "user", "days": 7}


def test_names_of_the_platform_are_refused(tmp_path: Path) -> None:
    for name in ("recommendations", "churn", "order", "amount", "purchase_events", "users"):
        with pytest.raises(SettingsError, match=f"my_{name}"):
            load_declarations(_settings(tmp_path, **{name: QUERY}))


def test_tables_are_those_of_the_settings_that_were_loaded_last(tmp_path: Path) -> None:
    load_declarations(_settings(tmp_path, visits=QUERY, sales={**QUERY, "for": "item"}))
    assert {"predictions.visits", "features.user_history", "features.item_history"} <= {*TABLES}
    load_declarations(_settings(tmp_path, visits=QUERY))
    assert "predictions.visits" in TABLES
    assert not {"predictions.sales", "features.item_history"} & {*TABLES}
    load_declarations(Settings(home=tmp_path))
    assert not {"predictions.visits", "features.user_history"} & {*TABLES}


def test_a_plugin_declares_queries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_queries.py").write_text(
        "from batch_predictions import PredictiveQuery\n"
        "tea = PredictiveQuery(name='tea', predict='count(*) > 0', of='purchase', entity='user', "
        "days=7)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = Settings(home=tmp_path, plugins=["my_queries"])
    load_declarations(settings)
    assert [query.name for query in queries_of(settings)] == ["tea"]
    assert "predictions.tea" in TABLES
