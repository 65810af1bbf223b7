"""Histograms of a day in the bins of the training: counts, kept bins, distances as of scipy."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp, wasserstein_distance

from batch_predictions.evaluation.drift import histograms
from batch_predictions.evaluation.drift.compute import compute_drift
from batch_predictions.evaluation.drift.histograms import compute_histograms, count_rows, make_bins
from batch_predictions.models.model_store import ModelStore
from batch_predictions.tables import CHURN_SCORES, HISTOGRAMS, USER_SEGMENTS
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.table_rows import write_rows

SUNDAY, DAY = dt.date(2024, 3, 3), dt.date(2024, 3, 6)
PROBABILITY = [column for column in CHURN_SCORES.columns if column.name == "churn_probability"]
AGE = [column for column in USER_SEGMENTS.columns if column.name == "age_bracket"]


def write(warehouse: Warehouse, day: dt.date, values: Sequence[float | None]) -> None:
    """Churn scores of users u000000, u000001 and so on."""
    rows = pa.table(
        {
            "user_id": [f"u{n:06}" for n in range(len(values))],
            "churn_probability": pa.array(values, pa.float64(), from_pandas=False),
            "days_inactive": [n % 30 for n in range(len(values))],
            "model_version": ["m"] * len(values),
        }
    )
    warehouse.replace_partition(CHURN_SCORES, day.isoformat(), rows)


def write_histograms(warehouse: Warehouse, models: ModelStore, day: dt.date) -> pa.Table:
    """Writes those of a day, and returns them."""
    rows = compute_histograms(warehouse, models, day)
    warehouse.replace_partition(HISTOGRAMS, day.isoformat(), rows)
    return rows


def counts_of(
    warehouse: Warehouse, values: Sequence[float | None]
) -> tuple[list[float], list[int]]:
    """The ends of the bins that rows make, and the rows in each, those without a value first."""
    write(warehouse, SUNDAY, values)
    bins = make_bins(warehouse, CHURN_SCORES, PROBABILITY, SUNDAY)
    counted = count_rows(warehouse, CHURN_SCORES, PROBABILITY, bins, SUNDAY)
    rows = counted["churn_probability"].rows
    ends = [end for end in bins["churn_probability"] if isinstance(end, float)]
    return ends, [rows[number] for number in sorted(rows)]


def test_bins_end_at_quantiles(warehouse: Warehouse) -> None:
    ends, rows = counts_of(warehouse, [n / 1000 for n in range(1000)])
    assert ends[:3] == [math.nextafter(0, -1), 0, 0.004] and ends[-1] == 0.999
    # None without a value, none below the smallest, which has a bin of its own, none above.
    assert rows[:4] == [0, 0, 1, 4] and rows[-1] == 0
    assert sum(rows) == 1000 and len(rows) == len(ends) + 2


def test_zeros_and_missing_values_have_a_bin_each(warehouse: Warehouse) -> None:
    ends, rows = counts_of(warehouse, [0.0] * 60 + [0.5] * 30 + [None] * 7 + [math.nan] * 3)
    assert ends[1:] == [0, 0.5] and rows == [10, 0, 60, 30, 0]
    ends, rows = counts_of(warehouse, [None] * 4)
    assert ends == [] and rows == [4, 0]
    ends, rows = counts_of(warehouse, [math.inf, -math.inf, 1.0])
    assert ends[1:] == [1] and rows == [0, 1, 1, 1]
    write(warehouse, SUNDAY, [])
    assert make_bins(warehouse, CHURN_SCORES, PROBABILITY, SUNDAY) == {}


@given(
    values=st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0]))),
    later=st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6), st.just(math.nan)), min_size=1),
)
@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_row_is_in_the_bin_of_its_value(
    warehouse: Warehouse, values: list[float | None], later: list[float | None]
) -> None:
    write(warehouse, SUNDAY, [*values, 0.5])
    write(warehouse, DAY, later)
    bins = make_bins(warehouse, CHURN_SCORES, PROBABILITY, SUNDAY)
    counted = count_rows(warehouse, CHURN_SCORES, PROBABILITY, bins, DAY)["churn_probability"]
    ends = np.array(bins["churn_probability"])
    known = np.array([v for v in later if v is not None and not math.isnan(v)])
    by_hand = np.bincount(np.searchsorted(ends, known), minlength=len(ends) + 1)
    assert [counted.rows[n] for n in range(1, len(ends) + 2)] == by_hand.tolist()
    assert counted.rows[0] == len(later) - len(known)
    assert counted.lowest == (known.min() if len(known) else None)


def test_quantiles_are_computed_of_so_many_columns_as_fit(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(warehouse, SUNDAY, [n / 100 for n in range(100)])
    columns = [c for c in CHURN_SCORES.columns if c.is_number]
    together = make_bins(warehouse, CHURN_SCORES, columns, SUNDAY)
    monkeypatch.setattr(histograms, "_VALUES_AT_A_TIME", 1)
    assert make_bins(warehouse, CHURN_SCORES, columns, SUNDAY) == together
    assert {*together} == {"churn_probability", "days_inactive"}


def write_segments(warehouse: Warehouse, day: dt.date, ages: Sequence[str | None]) -> None:
    """User segments of users u0, u1 and so on."""
    rows = [{"date": day, "user_id": f"u{n}", "age_bracket": age} for n, age in enumerate(ages)]
    write_rows(warehouse, USER_SEGMENTS, rows, day)


def test_text_is_counted_by_its_values(warehouse: Warehouse, models: ModelStore) -> None:
    write_segments(warehouse, SUNDAY, ["a", "b", "b", None])
    write_segments(warehouse, DAY, ["a", "c", "c", "", None, None])
    rows = compute_histograms(warehouse, models, DAY).to_pylist()
    ages = [row for row in rows if row["column_name"] == "age_bracket"]
    assert [(row["category"], row["reference_rows"], row["rows"]) for row in ages] == [
        (None, 1, 2),
        ("b", 2, 0),
        ("a", 1, 1),
        (None, 0, 3),
    ]
    many = [f"age {n}" for n in range(histograms.MAX_CATEGORIES + 1)]
    write_segments(warehouse, SUNDAY, many)
    assert make_bins(warehouse, USER_SEGMENTS, AGE, SUNDAY) == {}


def test_later_days_are_counted_in_the_bins_of_the_day_after_the_training(
    warehouse: Warehouse, models: ModelStore
) -> None:
    for age, day in enumerate((SUNDAY, DAY, DAY + dt.timedelta(days=1))):
        write(warehouse, day, [n / (100 + 50 * age) for n in range(100)])
    first = write_histograms(warehouse, models, DAY)
    # The training's day is not read again: it is gone, and the bins are the same.
    warehouse.drop_partition(CHURN_SCORES, SUNDAY.isoformat())
    later = write_histograms(warehouse, models, DAY + dt.timedelta(days=1))
    kept = ["column_name", "bin", "reference", "reference_rows"]
    assert later.select(kept) == first.select(kept)
    assert later["rows"] != first["rows"]
    assert {row["reference"] for row in later.to_pylist()} == {SUNDAY}
    # The first day itself needs the training's.
    assert compute_histograms(warehouse, models, DAY).num_rows == 0


def test_a_day_made_again_has_equal_rows(warehouse: Warehouse, models: ModelStore) -> None:
    days = [SUNDAY + dt.timedelta(days=n) for n in range(9)]
    for age, day in enumerate(days):
        write(warehouse, day, [n / (100 + 50 * age) for n in range(100)])
    made = [write_histograms(warehouse, models, day) for day in days[1:]]
    again = [compute_histograms(warehouse, models, day) for day in days[1:]]
    assert again == made
    references = [rows["reference"][0].as_py() for rows in made]
    assert references == [SUNDAY] * 7 + [SUNDAY + dt.timedelta(days=7)]


def test_bins_reach_as_far_as_the_day(warehouse: Warehouse, models: ModelStore) -> None:
    write(warehouse, SUNDAY, [0.2, 0.4])
    write(warehouse, DAY, [-1.0, 0.3, 2.0, None])
    rows = compute_histograms(warehouse, models, DAY).to_pylist()
    bins = [row for row in rows if row["column_name"] == "churn_probability"]
    below = math.nextafter(0.2, 0)
    assert [(b["lower"], b["upper"], b["reference_rows"], b["rows"]) for b in bins] == [
        (None, None, 0, 1),
        (-1, below, 0, 1),
        (below, 0.2, 1, 0),
        (0.2, 0.4, 1, 1),
        (0.4, 2, 0, 1),
    ]
    write(warehouse, DAY, [0.3])
    rows = compute_histograms(warehouse, models, DAY).to_pylist()
    bins = [row for row in rows if row["column_name"] == "churn_probability"]
    assert bins[1]["lower"] == bins[1]["upper"] and bins[-1]["lower"] == bins[-1]["upper"]


@pytest.mark.parametrize("kind", ["normal", "lognormal", "zeros", "integers"])
def test_statistics_are_those_of_scipy(warehouse: Warehouse, models: ModelStore, kind: str) -> None:
    random = np.random.default_rng(2)
    samples = {
        "normal": lambda d: random.normal(d, 1 + d / 3, size=20_000),
        "lognormal": lambda d: random.lognormal(d, 1.2, size=20_000),
        "zeros": lambda d: np.maximum(random.normal(d - 0.3, size=20_000), 0),
        "integers": lambda d: random.poisson(5 + d, size=20_000).astype(float),
    }
    before, now = samples[kind](0.0), samples[kind](0.3)
    write(warehouse, SUNDAY, before.tolist())
    write(warehouse, DAY, now.tolist())
    write_histograms(warehouse, models, DAY)
    drift = {
        row["statistic"]: row["value"]
        for row in compute_drift(warehouse, DAY).to_pylist()
        if row["column_name"] == "churn_probability"
    }
    assert drift["ks"] == pytest.approx(ks_2samp(before, now).statistic, abs=0.01)
    assert drift["wasserstein"] == pytest.approx(wasserstein_distance(before, now), rel=0.05)


def test_psi_of_a_shift_is_that_of_its_definition(warehouse: Warehouse, models: ModelStore) -> None:
    # Of a normal distribution moved by d, the divergence of Jeffreys is d squared.
    random = np.random.default_rng(3)
    write(warehouse, SUNDAY, random.normal(size=100_000).tolist())
    write(warehouse, DAY, random.normal(0.5, size=100_000).tolist())
    write_histograms(warehouse, models, DAY)
    drift = compute_drift(warehouse, DAY).to_pylist()
    [psi] = [
        row["value"]
        for row in drift
        if (row["column_name"], row["statistic"]) == ("churn_probability", "psi")
    ]
    assert psi == pytest.approx(0.25, abs=0.03)
