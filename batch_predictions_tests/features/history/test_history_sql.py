"""The history of entities and their labels, compared with the same computed event by event."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch_predictions.features.history.event_measures import MAX_SPAN
from batch_predictions.features.history.history_sql import History, age_edges
from batch_predictions.features.history.history_tables import group_by_entity, history_table
from batch_predictions.features.history.query_labels import examples_sql
from batch_predictions.settings.predictive_query import PredictiveQuery
from batch_predictions.tables import INTERACTIONS
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.promotions import write_march_promotions
from batch_predictions_tests.worlds.query_worlds import (
    CATEGORIES,
    LAST,
    purchases,
    query_warehouse,
)
from batch_predictions_tests.worlds.table_rows import event_rows, write_rows

RATES = np.linspace(0.02, 0.4, 12)
EVENTS = purchases(RATES, seed=4)
RANDOM_DAYS = [
    LAST - dt.timedelta(days=int(days))
    for days in np.random.default_rng(5).choice(np.arange(30, 150), 20, replace=False)
]


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    users = [{"user_id": "u0000", "age_bracket": "25-34", "attributes": {"shoe": "42"}}]
    return query_warehouse(tmp_path_factory.mktemp("history"), EVENTS, users)


def _query(text: str, name: str = "asked") -> PredictiveQuery:
    return PredictiveQuery.from_question(text, name)


def _examples(
    warehouse: Warehouse, query: PredictiveQuery, day: dt.date, limit: int = 1000
) -> dict[Any, dict[str, Any]]:
    sql = examples_sql(query, History.of((query,), ("purchase",)))
    rows = warehouse.query(sql, {"date": day, "max_entities": limit}).to_pylist()
    keys = History.of((query,), ()).keys
    return {tuple(row[key] for key in keys): row for row in rows}


@pytest.mark.parametrize("day", RANDOM_DAYS, ids=str)
def test_features_and_labels_of_users_are_those_of_their_events(
    warehouse: Warehouse, day: dt.date
) -> None:
    query = _query("sum(amount) of purchase where category = 'TEA' for user in 21 days from 2")
    examples = _examples(warehouse, query, day)
    known = {user for date, user, _, _ in EVENTS if date <= day}
    assert {user for (user,) in examples} == known
    for (user,), row in examples.items():
        tea = [
            ((day - date).days, amount)
            for date, owner, item, amount in EVENTS
            if owner == user and CATEGORIES[int(item[1:]) % 4] == "TEA"
        ]
        past = [(age, amount) for age, amount in tea if age >= 0]
        for window in (7, 21, 91):
            expected = sum(amount for age, amount in past if age < window)
            assert row[f"asked_{window}d"] == pytest.approx(expected)
        decayed = sum(amount * 0.5 ** (age / 14) for age, amount in past)
        assert row["asked_decayed_14d"] == pytest.approx(decayed)
        ages = sorted({age for age, _ in past})
        assert row["asked_active_days_28d"] == len([age for age in ages if age < 28])
        assert row["asked_days_since"] == (ages[0] if ages else None)
        assert row["asked_days_since_first"] == (ages[-1] if ages else None)
        mean_gap = (ages[-1] - ages[0]) / (len(ages) - 1) if len(ages) > 1 else None
        assert row["asked_mean_gap"] == pytest.approx(mean_gap)
        all_days = {(day - date).days for date, owner, _, _ in EVENTS if owner == user}
        assert row["purchase_events_28d"] == len(
            [1 for date, owner, _, _ in EVENTS if owner == user and 0 <= (day - date).days < 28]
        )
        assert row["purchase_events_active_days_364d"] == len({age for age in all_days if age >= 0})
        # The window begins two days after the day that follows.
        assert row["target"] == pytest.approx(sum(a for age, a in tea if -23 <= age <= -3))


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("count(*) of purchase for item in 7 days", lambda e: len(e)),
        (
            "count(distinct user_id) of purchase for item in 7 days",
            lambda e: len({x[1] for x in e}),
        ),
        ("avg(amount) of purchase for category in 7 days", lambda e: np.mean([x[3] for x in e])),
        ("max(amount) of purchase for category in 7 days", lambda e: max(x[3] for x in e)),
        ("count(*) >= 3 of purchase for category in 7 days", lambda e: float(len(e) >= 3)),
        (
            "first(date) of purchase for item in 7 days",
            lambda e: min((x[0] - dt.date(2024, 5, 1)).days for x in e),
        ),
    ],
)
def test_labels_of_items_and_categories(warehouse: Warehouse, question: str, expected: Any) -> None:
    day, query = dt.date(2024, 5, 1), _query(question)
    examples = _examples(warehouse, query, day)
    window = [e for e in EVENTS if day < e[0] <= day + dt.timedelta(days=7)]
    assert len(examples) == (8 if query.entity == "item" else 4)
    for (key,), row in examples.items():
        own = [e for e in window if key in (e[2], CATEGORIES[int(e[2][1:]) % 4])]
        if own:
            assert row["target"] == pytest.approx(expected(own))
        elif query.target.is_zero_without_events:
            assert row["target"] == 0
        else:
            assert row["target"] is None


def test_pairs_have_features_of_their_parts(warehouse: Warehouse) -> None:
    day, query = dt.date(2024, 5, 1), _query("count(*) of purchase for user x category in 7 days")
    examples = _examples(warehouse, query, day)
    past = [(u, CATEGORIES[int(i[1:]) % 4], (day - d).days) for d, u, i, _ in EVENTS if d <= day]
    assert set(examples) == {(user, category) for user, category, _ in past}
    for (user, category), row in examples.items():
        recent = [(u, c) for u, c, age in past if age < 28]
        assert row["asked_28d"] == recent.count((user, category))
        assert row["user_asked_28d"] == sum(u == user for u, _ in recent)
        assert row["category_asked_28d"] == sum(c == category for _, c in recent)


def test_candidates_of_a_list_have_the_popular_values_too(warehouse: Warehouse) -> None:
    query = _query("top(2, item_id) of purchase for user in 7 days")
    day = dt.date(2024, 2, 1)
    examples = _examples(warehouse, query, day)
    users = {user for date, user, _, _ in EVENTS if date <= day}
    assert set(examples) == {(user, f"i{n}") for user in users for n in range(8)}
    for (user, item), row in examples.items():
        bought = [e for e in EVENTS if e[1] == user and e[2] == item]
        assert row["target"] == any(1 <= (date - day).days <= 7 for date, *_ in bought)
        assert (row["asked_364d"] is None) == all(date > day for date, *_ in bought)


def test_nothing_after_the_day_changes_features(warehouse: Warehouse, tmp_path: Path) -> None:
    day = dt.date(2024, 4, 1)
    without_future = query_warehouse(
        tmp_path, [event for event in EVENTS if event[0] <= day], [{"user_id": "u0000"}]
    )
    queries = tuple(
        _query(f"{target} of purchase for user in 28 days", f"q{n}")
        for n, target in enumerate(["sum(amount)", "count(*) > 0", "first(date)", "min(amount)"])
    )
    sql = history_table(History.of(queries, ("purchase",))).query
    assert sql is not None
    columns = list(History.of(queries, ("purchase",)).features())
    now, then = (w.query(sql, {"date": day}).select(columns) for w in (warehouse, without_future))
    assert now.equals(then)
    assert now.num_rows


def test_the_table_of_several_queries_has_what_each_reads(warehouse: Warehouse) -> None:
    texts = [
        "sum(amount) of purchase for user in 28 days",
        "count(*) of purchase for user in 7 days",
    ]
    queries = [_query(text, f"q{n}") for n, text in enumerate(texts)]
    [group] = group_by_entity(queries)
    sql = history_table(History.of(group, ("purchase",))).query
    assert sql is not None
    table = warehouse.query(sql, {"date": LAST})
    for query in queries:
        own = History.of((query,), ("purchase",))
        alone = warehouse.query(own.sql(), {"date": LAST})
        assert table.select(own.columns()).equals(alone.select(own.columns()))


def test_each_list_has_a_table_with_the_candidates_that_it_was_trained_on(
    warehouse: Warehouse,
) -> None:
    conditions = ("amount > 5", "amount <= 5")
    queries = [
        _query(f"top(2, category) of purchase where {condition} for user in 7 days", f"q{n}")
        for n, condition in enumerate(conditions)
    ]
    groups = group_by_entity(queries)
    assert [History.of(group, ()).name for group in groups] == ["q0_candidates", "q1_candidates"]


def test_a_sample_has_the_same_entities_every_day(warehouse: Warehouse) -> None:
    query = _query("count(*) of purchase for user in 7 days")
    days = [dt.date(2024, 4, 1), dt.date(2024, 6, 1)]
    first, second = (set(_examples(warehouse, query, day, limit=5)) for day in days)
    assert len(first) == 5
    assert first == second
    everyone = _examples(warehouse, query, days[0])
    assert {key: everyone[key] for key in first} == _examples(warehouse, query, days[0], limit=5)


def test_the_same_weeks_of_the_year_before(tmp_path: Path) -> None:
    day = dt.date(2024, 6, 1)
    events = [(day - dt.timedelta(days=back), "u", "i0", 1.0) for back in (364, 363, 357, 356, 1)]
    warehouse = query_warehouse(tmp_path, [])
    write_rows(
        warehouse, INTERACTIONS, event_rows("date user_id item_id amount", events, quantity=1.0)
    )
    query = _query("count(*) of purchase for user in 7 days")
    # The window is the next seven days: those 364 days before are 357 to 363 days ago.
    assert _examples(warehouse, query, day)[("u",)]["asked_year_ago"] == 2


def test_edges_are_never_further_apart_than_a_word_has_bits() -> None:
    query = _query("count(*) of purchase for user in 300 days from 10")
    history = History.of((query,), ("purchase",))
    edges = [0, *age_edges(history.measures)]
    assert max(np.diff(edges)) <= MAX_SPAN


def test_a_type_of_several_words_has_columns(warehouse: Warehouse) -> None:
    query = _query("count(*) of purchase for user in 7 days")
    history = History.of((query,), ("purchase", "add to cart's"))
    assert "add_to_cart_s_events_28d" in history.features()
    rows = warehouse.query(history.sql(), {"date": LAST})
    assert rows["add_to_cart_s_events_28d"].to_pylist() == [0.0] * rows.num_rows


def test_items_have_the_change_of_promotions_of_the_coming_week(tmp_path: Path) -> None:
    warehouse = query_warehouse(tmp_path, EVENTS)
    day = dt.date(2024, 3, 24)
    query = _query("count(*) of purchase for item in 7 days")
    assert _examples(warehouse, query, day)[("i1",)]["promoted_change"] is None
    write_march_promotions(
        warehouse,
        ("i1", "all", "04", "31", "front", None),
        ("i2", "all", "25", "31", "front", None),
        ("i3", "all", "04", "24", None, "cover"),
        ("i4", "all", "18", "24", "front", None),
    )
    rows = _examples(warehouse, query, day)
    columns = ("promoted_change", "display_change", "mailer_change")
    changes = {key: [row[column] for column in columns] for (key,), row in rows.items()}
    # The week before the three in March is not known.
    expected = {"i2": [1, 1, 0], "i3": [-1, 0, -1], "i4": [-1 / 3, -1 / 3, 0]}
    for key, values in changes.items():
        assert values == pytest.approx(expected.get(key, [0, 0, 0]))
    # Nothing of the days after the coming week is read.
    assert _examples(warehouse, query, day - dt.timedelta(days=7))[("i2",)]["display_change"] == 0
