"""Segments: shrinkage by hand, thin segments, and demographics that matter or do not."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.demographic.model import (
    NO_ADJUSTMENT,
    CountAdjustment,
    DemographicModel,
)
from batch_predictions.models.demographic.ridge import DemographicDesign, RidgeAdjustment
from batch_predictions.models.demographic.ridge_fit import RidgeFit
from batch_predictions.models.demographic.segments import SegmentUsers, segments
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


def wanted(*rows: tuple[str | None, ...]) -> pa.Table:
    names = ("segment_level", *TRAITS)
    return pa.table(
        {name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(names)}
    )


EVERYONE = ("everyone", None, None, None)


def test_shares_are_drawn_to_those_of_the_parent():
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


def test_a_thin_segment_says_what_its_parent_says():
    ranker = DemographicModel(30, CountAdjustment(1e9)).ranker(COUNTS, USERS)
    parent = ranker.shares("everyone", (None, None, None))
    assert ranker.shares("age", ("65+", None, None)) == pytest.approx(parent)
    nobody = ranker.shares("age", ("55-64", None, None))
    np.testing.assert_allclose(nobody, parent, rtol=1e-12)


def test_infinite_kappa_is_one_list_for_all():
    ranker = DemographicModel(30).ranker(COUNTS, USERS)
    lists = ranker.top_k(wanted(("age", "65+", None, None), EVERYONE), 3)
    assert lists["item_id"].to_pylist() == ["cake", "tea", "bread"] * 2


def test_lists_have_ranks_shares_and_support_and_no_blocked_items():
    ranker = DemographicModel(30, CountAdjustment(1.0)).ranker(COUNTS, USERS)
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
    ranker = DemographicModel(30, CountAdjustment(5.0)).ranker(
        COUNTS.slice(0, 0), USERS.slice(0, 0)
    )
    assert ranker.top_k(made, 3).num_rows == 0
    assert ranker.top_k(made.slice(0, 0), 3).num_rows == 0


def test_the_order_of_rows_does_not_change_a_bit():
    random = np.random.default_rng(0)
    counts = pa.concat_tables([COUNTS] * 20)
    weights = pa.array(random.random(counts.num_rows))
    counts = counts.set_column(4, "weight", weights)
    model = DemographicModel(30, CountAdjustment(7.0))
    one = model.ranker(counts, USERS).top_k(segments(USERS, 1), 3)
    shuffled = counts.take(random.permutation(counts.num_rows))
    assert one.equals(model.ranker(shuffled, USERS).top_k(segments(USERS, 1), 3))


@pytest.mark.parametrize("tilt", [CountAdjustment(300.0), NO_ADJUSTMENT, "ridge"])
def test_saved_and_loaded_it_is_the_same(tilt: CountAdjustment | str, tmp_path: Path):
    made = ridge(1.0) if isinstance(tilt, str) else tilt
    model = DemographicModel(14.0, made)
    model.save(tmp_path)
    loaded = DemographicModel.load(tmp_path)
    assert loaded == model and loaded.tilted == (tilt != NO_ADJUSTMENT)
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".npy"}
    lists = [each.ranker(COUNTS, USERS).top_k(segments(USERS, 1), 3) for each in (model, loaded)]
    assert lists[0].equals(lists[1])


def test_a_model_of_before_there_were_two_tilts_is_read(tmp_path: Path):
    old = '{"kind": "demographic", "kappa": 300.0, "half_life_days": 30}'
    (tmp_path / "demographic.json").write_text(old)
    assert DemographicModel.load(tmp_path) == DemographicModel(30, CountAdjustment(300.0))


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan])
def test_strengths_and_half_lives_are_positive(wrong: float):
    with pytest.raises(ValueError, match="kappa"):
        CountAdjustment(wrong)
    with pytest.raises(ValueError, match="half_life_days"):
        DemographicModel(wrong)
    with pytest.raises(ValueError, match="penalty"):
        ridge(wrong)


# --- regression: 60 young users of whom all want tea, 40 old ones of whom half want cake ---------

CROWD = SegmentUsers([("19-24", "f", "here"), ("65+", "f", "here")], np.array([60, 40]))
TAKEN = np.log(2.0) * np.array([[60.0, 0.0], [0.0, 20.0]])


def ridge(penalty: float, places: bool = False) -> RidgeAdjustment:
    from scipy.sparse import csr_matrix

    items = pa.array(["tea", "cake"], pa.string())
    return RidgeFit(CROWD, items, csr_matrix(TAKEN), places=places).tilt(penalty)


def test_the_regression_is_that_over_users():
    """Against the normal equations over 100 users, one row each."""
    penalty = 7.0
    inputs = DemographicDesign.of(CROWD, places=True).matrix(CROWD.leaves)
    x = np.repeat(inputs, [60, 40], axis=0)
    y = np.zeros((100, 2))
    y[:60, 0] = np.log(2.0)
    y[60:80, 1] = np.log(2.0)
    centred = x - x.mean(axis=0)
    left = centred.T @ centred + penalty * np.eye(x.shape[1])
    effects = np.linalg.solve(left, centred.T @ (y - y.mean(axis=0)))
    found = ridge(penalty, places=True)
    assert found.effects == pytest.approx(
        effects / (y.mean(axis=0) + 5 * np.log(2.0) / 100), rel=1e-5, abs=1e-7
    )
    assert found.means == pytest.approx(x.mean(axis=0))


def test_the_tilt_follows_age_and_a_huge_penalty_is_everyones_list():
    from scipy.sparse import csr_matrix

    from batch_predictions.models.demographic.segments import SegmentCounts

    counts = SegmentCounts(
        CROWD.leaves, pa.array(["cake", "new", "tea"]), csr_matrix([[0.0, 1, 9], [8, 1, 1]])
    )
    shares = ridge(1e-6).on(counts, CROWD)
    # Nobody is known to want "new" more than others do; tea of the old is at the floor.
    old = np.array([8 * (1 + (0.5 - 0.2) / 0.25), 2, 10 * (1 - 0.6 / 0.65)]) / 20
    assert shares("age", ("65+", None, None)) == pytest.approx(old / old.sum(), rel=1e-4)
    everyone = np.array([8, 2, 10]) / 20
    assert shares("everyone", (None, None, None)) == pytest.approx(everyone)
    assert shares("age", ("55-64", None, None)) == pytest.approx(everyone)
    flat = ridge(1e12).on(counts, CROWD)
    assert flat("age", ("65+", None, None)) == pytest.approx(everyone)


def test_ages_are_thresholds_and_an_unknown_one_is_the_usual():
    users = SegmentUsers(
        [("25-34", "f", "x"), ("65+", "m", "x"), ("under 19", "f", "y"), ("unknown", "m", "x")],
        np.array([30, 10, 20, 15]),
    )
    inputs = DemographicDesign.of(users, places=True)
    assert inputs.ages == ("under 19", "25-34", "65+") and inputs.genders == ("f", "m")
    assert inputs.locations == ("x", "y") and len(inputs) == 2 + 1 + 2 + 4 + 2
    steps = [2 / 3, 1 / 6]
    expected = [
        [1, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 0, 0, 1, 1, 1, 0],
        [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1],
        [*steps, 1, 0, 1, 0, 0, *steps, 1, 0],
    ]
    assert inputs.matrix(users.leaves) == pytest.approx(np.array(expected))


def test_without_places_a_lookup_finds_age_and_gender_first():
    users = SegmentUsers([("19-24", "f", "x"), ("19-24", "m", "x")], np.array([3, 4]))
    leaf = ("19-24", "f", "elsewhere")
    assert users.serving(leaf, 1) == ("age_gender", ("19-24", "f", None))
    assert users.serving(("19-24", "o", "x"), 1)[0] == "age_location"
    assert users.serving(("19-24", "o", "x"), 1, places=False)[0] == "age"
    assert users.serving(leaf, 100)[0] == "everyone"
