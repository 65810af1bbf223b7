"""The fallback's model, its segments and adjustments: by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.demographic.demographic_model import (
    NO_ADJUSTMENT,
    CountAdjustment,
    DemographicModel,
)
from batch_predictions.models.demographic.demographic_segments import SegmentUsers
from batch_predictions.models.demographic.ridge import DemographicDesign, RidgeAdjustment
from batch_predictions.models.demographic.ridge_fit import RidgeFit
from batch_predictions.models.recommender.business_rules import Rules
from batch_predictions.tables import SEGMENT_LEVELS as LEVELS

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


def make_segments(*rows: tuple[str | None, ...]) -> pa.Table:
    names = ("segment_level", *TRAITS)
    return pa.table(
        {name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(names)}
    )


def list_segments(users: pa.Table) -> pa.Table:
    """Every segment of every level."""
    by_level = SegmentUsers.from_table(users).counts_by_level
    return make_segments(*((level, *segment) for level in LEVELS for segment in by_level[level]))


EVERYONE = ("everyone", None, None, None)


def test_shares_are_shrunk_to_those_of_the_parent() -> None:
    ranker = DemographicModel(30, CountAdjustment(10.0)).ranker(COUNTS, USERS)
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


def test_a_small_segment_has_its_parents_shares() -> None:
    ranker = DemographicModel(30, CountAdjustment(1e9)).ranker(COUNTS, USERS)
    parent = ranker.shares("everyone", (None, None, None))
    assert ranker.shares("age", ("65+", None, None)) == pytest.approx(parent)
    no_users = ranker.shares("age", ("55-64", None, None))
    np.testing.assert_allclose(no_users, parent, rtol=1e-12)


def test_infinite_kappa_is_one_list_for_all() -> None:
    ranker = DemographicModel(30).ranker(COUNTS, USERS)
    lists = ranker.top_k(make_segments(("age", "65+", None, None), EVERYONE), 3)
    assert lists["item_id"].to_pylist() == ["cake", "tea", "bread"] * 2


def test_lists_have_ranks_shares_and_support() -> None:
    ranker = DemographicModel(30, CountAdjustment(1.0)).ranker(COUNTS, USERS)
    segment = ("age_gender", "19-24", "f", None)
    lists = ranker.top_k(make_segments(segment, EVERYONE), 2)
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


def test_lists_follow_the_rules() -> None:
    ranker = DemographicModel(30).ranker(COUNTS, USERS)
    rows = {"item_id": ["bread", "cake", "tea"], "boost": [9, 0, 0]}
    rules = pa.table(rows | {"groups": [["baked"], ["baked"], [None]]})
    items = ranker.counts.items
    lists = ranker.top_k(make_segments(EVERYONE), 2, Rules.from_table(rules, items, [1]))
    assert lists["item_id"].to_pylist() == ["bread", "tea"]
    # Limits never shorten a list.
    lists = ranker.top_k(make_segments(EVERYONE), 5, Rules.from_table(rules, items, [1]))
    assert lists["item_id"].to_pylist() == ["bread", "tea", "cake"]


def test_without_users_and_counts_there_is_only_everyone() -> None:
    listed = list_segments(USERS.slice(0, 0))
    assert listed["segment_level"].to_pylist() == ["everyone"]
    ranker = DemographicModel(30, CountAdjustment(5.0)).ranker(
        COUNTS.slice(0, 0), USERS.slice(0, 0)
    )
    assert ranker.top_k(listed, 3).num_rows == 0
    assert ranker.top_k(listed.slice(0, 0), 3).num_rows == 0


def test_the_order_of_rows_does_not_change_a_bit() -> None:
    rng = np.random.default_rng(0)
    counts = pa.concat_tables([COUNTS] * 20)
    weights = pa.array(rng.random(counts.num_rows))
    counts = counts.set_column(4, "weight", weights)
    model = DemographicModel(30, CountAdjustment(7.0))
    lists = model.ranker(counts, USERS).top_k(list_segments(USERS), 3)
    shuffled = counts.take(rng.permutation(counts.num_rows))
    assert lists.equals(model.ranker(shuffled, USERS).top_k(list_segments(USERS), 3))


@pytest.mark.parametrize("adjustment", [CountAdjustment(300.0), NO_ADJUSTMENT, "ridge"])
def test_a_loaded_model_equals_the_saved_one(
    adjustment: CountAdjustment | str, tmp_path: Path
) -> None:
    model = DemographicModel(14.0, fit_ridge(1.0) if isinstance(adjustment, str) else adjustment)
    model.save(tmp_path)
    loaded = DemographicModel.load(tmp_path)
    assert loaded == model and loaded.has_segment_lists == (adjustment != NO_ADJUSTMENT)
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".npy"}
    lists = [m.ranker(COUNTS, USERS).top_k(list_segments(USERS), 3) for m in (model, loaded)]
    assert lists[0].equals(lists[1])


@pytest.mark.parametrize("invalid", [0.0, -1.0, math.nan])
def test_kappa_half_life_and_penalty_must_be_positive(invalid: float) -> None:
    with pytest.raises(ValueError, match="kappa"):
        CountAdjustment(invalid)
    with pytest.raises(ValueError, match="half_life_days"):
        DemographicModel(invalid)
    with pytest.raises(ValueError, match="penalty"):
        fit_ridge(invalid)


# --- ridge: 60 users of 19-24 all take tea, half of 40 users of 65+ take cake --------------------

RIDGE_USERS = SegmentUsers([("19-24", "f", "here"), ("65+", "f", "here")], np.array([60, 40]))
LOG_EVENTS = np.log(2.0) * np.array([[60.0, 0.0], [0.0, 20.0]])


def fit_ridge(penalty: float, uses_location: bool = False) -> RidgeAdjustment:
    from scipy.sparse import csr_matrix

    items = pa.array(["tea", "cake"], pa.string())
    return RidgeFit(RIDGE_USERS, items, csr_matrix(LOG_EVENTS), uses_location=uses_location).solve(
        penalty
    )


def test_the_regression_is_that_over_users() -> None:
    """Against the normal equations over 100 users, one row each."""
    penalty = 7.0
    inputs = DemographicDesign.from_users(RIDGE_USERS, uses_location=True).matrix(
        RIDGE_USERS.leaves
    )
    x = np.repeat(inputs, [60, 40], axis=0)
    y = np.zeros((100, 2))
    y[:60, 0] = np.log(2.0)
    y[60:80, 1] = np.log(2.0)
    centred = x - x.mean(axis=0)
    left = centred.T @ centred + penalty * np.eye(x.shape[1])
    effects = np.linalg.solve(left, centred.T @ (y - y.mean(axis=0)))
    adjustment = fit_ridge(penalty, uses_location=True)
    assert adjustment.effects == pytest.approx(
        effects / (y.mean(axis=0) + 5 * np.log(2.0) / 100), rel=1e-5, abs=1e-7
    )
    assert adjustment.means == pytest.approx(x.mean(axis=0))


def test_ratios_follow_age_and_a_high_penalty_gives_overall_shares() -> None:
    from scipy.sparse import csr_matrix

    from batch_predictions.models.demographic.demographic_segments import SegmentCounts

    counts = SegmentCounts(
        RIDGE_USERS.leaves, pa.array(["cake", "new", "tea"]), csr_matrix([[0.0, 1, 9], [8, 1, 1]])
    )
    shares = fit_ridge(1e-6).apply(counts, RIDGE_USERS)
    # "new" was not regressed and keeps its share.
    old = np.array([8 * (1 + (0.5 - 0.2) / 0.25), 2, 10 * (1 - 0.6 / 0.65)]) / 20
    assert shares("age", ("65+", None, None)) == pytest.approx(old / old.sum(), rel=1e-4)
    everyone = np.array([8, 2, 10]) / 20
    assert shares("everyone", (None, None, None)) == pytest.approx(everyone)
    assert shares("age", ("55-64", None, None)) == pytest.approx(everyone)
    high_penalty = fit_ridge(1e12).apply(counts, RIDGE_USERS)
    assert high_penalty("age", ("65+", None, None)) == pytest.approx(everyone)


def test_ages_are_thresholds_and_an_unknown_age_has_their_means() -> None:
    users = SegmentUsers(
        [("25-34", "f", "x"), ("65+", "m", "x"), ("under 19", "f", "y"), ("unknown", "m", "x")],
        np.array([30, 10, 20, 15]),
    )
    inputs = DemographicDesign.from_users(users, uses_location=True)
    assert inputs.ages == ("under 19", "25-34", "65+") and inputs.genders == ("f", "m")
    assert inputs.locations == ("x", "y") and len(inputs) == 2 + 1 + 2 + 4 + 2
    means = [2 / 3, 1 / 6]
    expected = [
        [1, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 0, 0, 1, 1, 1, 0],
        [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1],
        [*means, 1, 0, 1, 0, 0, *means, 1, 0],
    ]
    assert inputs.matrix(users.leaves) == pytest.approx(np.array(expected))


def test_without_location_a_lookup_finds_age_and_gender_first() -> None:
    users = SegmentUsers([("19-24", "f", "x"), ("19-24", "m", "x")], np.array([3, 4]))
    leaf = ("19-24", "f", "elsewhere")
    assert users.find_segment(leaf, 1) == ("age_gender", ("19-24", "f", None))
    assert users.find_segment(("19-24", "o", "x"), 1)[0] == "age_location"
    assert users.find_segment(("19-24", "o", "x"), 1, uses_location=False)[0] == "age"
    assert users.find_segment(leaf, 100)[0] == "everyone"
