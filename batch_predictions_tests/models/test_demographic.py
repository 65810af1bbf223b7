"""Segments: shrinkage by hand, thin segments, and demographics that matter or do not."""

from __future__ import annotations

import math
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.demographic import DemographicModel, segments
from batch_predictions.models.demographic_selection import select_demographic
from batch_predictions.tables import SEGMENT_LEVELS as LEVELS

THROUGH = date(2024, 3, 31)
TRAITS = ("age_bracket", "gender", "location")

USERS = pa.table(
    {
        "age_bracket": ["19-24", "19-24", "65+", None],
        "gender": ["f", "m", "f", ""],
        "location": ["here", "here", "there", "unknown"],
        "users": [30, 20, 40, 5],
    }
)
COUNTS = pa.table(
    {
        "age_bracket": ["19-24", "19-24", "19-24", "65+", None],
        "gender": ["f", "m", "f", "f", ""],
        "location": ["here", "here", "here", "there", "unknown"],
        "item_id": ["tea", "tea", "cake", "cake", "bread"],
        "weight": [6.0, 2.0, 2.0, 8.0, 2.0],
    }
)


def wanted(*rows: tuple[str | None, ...]) -> pa.Table:
    names = ("segment_level", *TRAITS)
    return pa.table(
        {name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(names)}
    )


EVERYONE = ("everyone", None, None, None)


def test_shares_are_drawn_to_those_of_the_parent():
    ranker = DemographicModel(kappa=10.0, half_life_days=30).ranker(COUNTS, USERS)
    assert ranker.counts.items.to_pylist() == ["bread", "cake", "tea"]
    everyone = np.array([2, 10, 8]) / 20
    age = (np.array([0, 2, 8]) + 10 * everyone) / 20
    age_location = (np.array([0, 2, 8]) + 10 * age) / 20
    leaf = (np.array([0, 2, 6]) + 10 * age_location) / 18
    assert ranker.shares("everyone", (None, None, None)) == pytest.approx(everyone)
    assert ranker.shares("age", ("19-24", None, None)) == pytest.approx(age)
    assert ranker.shares("age_gender_location", ("19-24", "f", "here")) == pytest.approx(leaf)
    location = (np.array([0, 8, 0]) + 10 * everyone) / 18
    gender_location = (np.array([0, 8, 0]) + 10 * location) / 18
    assert ranker.shares("gender_location", (None, "f", "there")) == pytest.approx(gender_location)


def test_a_thin_segment_says_what_its_parent_says():
    ranker = DemographicModel(kappa=1e9, half_life_days=30).ranker(COUNTS, USERS)
    parent = ranker.shares("everyone", (None, None, None))
    assert ranker.shares("age", ("65+", None, None)) == pytest.approx(parent)
    nobody = ranker.shares("age", ("55-64", None, None))
    np.testing.assert_allclose(nobody, parent, rtol=1e-12)


def test_infinite_kappa_is_one_list_for_all():
    ranker = DemographicModel(kappa=math.inf, half_life_days=30).ranker(COUNTS, USERS)
    lists = ranker.top_k(wanted(("age", "65+", None, None), EVERYONE), 3)
    assert lists["item_id"].to_pylist() == ["cake", "tea", "bread"] * 2


def test_lists_have_ranks_shares_and_support_and_no_blocked_items():
    ranker = DemographicModel(kappa=1.0, half_life_days=30).ranker(COUNTS, USERS)
    segment = ("age_gender", "19-24", "f", None)
    lists = ranker.top_k(wanted(segment, EVERYONE), 5, blocked=pa.array(["bread", "nothing"]))
    assert lists.column_names == [
        "segment_level",
        *TRAITS,
        "rank",
        "item_id",
        "score",
        "support",
    ]
    assert lists["item_id"].to_pylist() == ["tea", "cake", "cake", "tea"]
    assert lists["rank"].to_pylist() == [1, 2, 1, 2]
    assert lists["support"].to_pylist() == [30, 30, 95, 95]
    assert lists["gender"].to_pylist() == ["f", "f", None, None]
    assert lists["score"].to_pylist()[2:] == [0.5, 0.4]


def test_segments_have_enough_users_and_everyone_always_exists():
    made = segments(USERS, min_users=30)
    assert made["segment_level"].to_pylist()[0] == "age_gender_location"
    rows = made.to_pylist()
    assert {row["segment_level"] for row in rows} == set(LEVELS)
    ages = [(row["age_bracket"], row["users"]) for row in rows if row["segment_level"] == "age"]
    assert ages == [("19-24", 50), ("65+", 40)]
    assert rows[-1] == {
        "segment_level": "everyone",
        "age_bracket": None,
        "gender": None,
        "location": None,
        "users": 95,
    }
    unknown = [row for row in segments(USERS, 5).to_pylist() if row["location"] == "unknown"]
    assert [row["users"] for row in unknown] == [5] * 4


def test_nobody_and_nothing_still_make_everyone():
    made = segments(USERS.slice(0, 0), min_users=10)
    assert made["segment_level"].to_pylist() == ["everyone"] and made["users"].to_pylist() == [0]
    ranker = DemographicModel(5.0, 30).ranker(COUNTS.slice(0, 0), USERS.slice(0, 0))
    assert ranker.top_k(made, 3).num_rows == 0
    assert ranker.top_k(made.slice(0, 0), 3).num_rows == 0


def test_the_order_of_rows_does_not_change_a_bit():
    random = np.random.default_rng(0)
    counts = pa.concat_tables([COUNTS] * 20)
    weights = pa.array(random.random(counts.num_rows))
    counts = counts.set_column(4, "weight", weights)
    model = DemographicModel(7.0, 30)
    one = model.ranker(counts, USERS).top_k(segments(USERS, 1), 3)
    shuffled = counts.take(random.permutation(counts.num_rows))
    assert one.equals(model.ranker(shuffled, USERS).top_k(segments(USERS, 1), 3))


@pytest.mark.parametrize("kappa", [300.0, math.inf])
def test_saved_and_loaded_it_is_the_same(kappa: float, tmp_path: Path):
    model = DemographicModel(kappa, 14.0)
    model.save(tmp_path)
    assert DemographicModel.load(tmp_path) == model


def world(
    tilt: bool, one_day: bool = False, users: int = 120, seed: int = 0
) -> tuple[pa.Table, pa.Table]:
    """Young and old users of one taste, or of two where `tilt`; 10 rows each over 30 days."""
    random = np.random.default_rng(seed)
    rows: dict[str, list[object]] = {"user_id": [], "item_id": [], "date": [], "events": []}
    for user in range(users):
        for _ in range(10):
            item = min(int(random.geometric(0.25)), 15) + (20 * (user % 2) if tilt else 0)
            rows["user_id"].append(f"u{user:03}")
            rows["item_id"].append(f"i{item:02}")
            rows["date"].append(
                THROUGH if one_day else THROUGH - timedelta(days=int(random.integers(30)))
            )
            rows["events"].append(1)
    traits = pa.table(
        {
            "user_id": [f"u{user:03}" for user in range(users)],
            "age_bracket": ["19-24" if user % 2 else "65+" for user in range(users)],
            "gender": pa.array([None] * users, pa.string()),
            "location": ["here" if user % 3 else "there" for user in range(users)],
        }
    )
    return pa.table(rows), traits


@pytest.mark.parametrize("one_day", [False, True])
def test_age_is_used_where_it_matters(one_day: bool):
    rows, traits = world(tilt=True, one_day=one_day)
    selection = select_demographic(rows, traits, THROUGH, seed=0)
    assert math.isfinite(selection.model.kappa) and "Segments serve" in selection.why
    assert selection.split == ("leave_out" if one_day else "time")
    values = {
        row["candidate"]: row["value"] for row in selection.metrics if row["metric"] == "ndcg@10"
    }
    assert set(values) == {
        "popularity",
        *(f"recency_popularity_{days}d" for days in (7, 14, 30, 90)),
        "demographic",
    }
    assert values["demographic"] > values["popularity"] + 0.1
    again = select_demographic(rows, traits, THROUGH, seed=0)
    assert again == selection


def test_without_demographics_everyones_list_serves():
    rows, traits = world(tilt=False)
    selection = select_demographic(rows, traits.slice(0, 0), THROUGH, seed=0)
    assert math.isinf(selection.model.kappa)
    assert "no demographics" in selection.why
    assert "demographic" not in {row["candidate"] for row in selection.metrics}


@pytest.mark.parametrize("rows", [0, 1, 2, 12])
@pytest.mark.parametrize("one_day", [False, True])
def test_tiny_data_is_enough(rows: int, one_day: bool):
    table, traits = world(tilt=True, one_day=one_day)
    selection = select_demographic(table.slice(0, rows), traits, THROUGH, seed=0)
    assert selection.why.endswith(".")
    assert selection.model.half_life_days in (7, 14, 30, 90)
