"""The uplift of promotions: planted effects are found, and unrelated calendars do not serve."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.demographic.demographic_evaluation import DemographicConfig
from batch_predictions.models.demographic.demographic_model import NO_ADJUSTMENT, DemographicModel
from batch_predictions.models.demographic.demographic_selection import (
    PROMOTED,
    DemographicSelection,
    select_demographic,
)
from batch_predictions.models.demographic.promotion_uplift import (
    MIN_FACTOR,
    PromotionUplift,
    align_changes,
)

THROUGH = date(2024, 3, 31)
CONFIG = DemographicConfig(seed=0)
WEEKS, USERS, ITEMS = 12, 150, 60
DISPLAY_LIFT = 6.0
"""Odds of an item on display over those of others."""
NO_CHANGES = pa.table(
    {
        "item_id": pa.array([], pa.string()),
        "display": pa.array([], pa.float64()),
        "mailer": pa.array([], pa.float64()),
        "promoted": pa.array([], pa.float64()),
    }
)


def on_display(seed: int = 1) -> np.ndarray:
    """Weeks x items: a sixth of the items is on display each week, others the next."""
    return np.random.default_rng(seed).random((WEEKS + 1, ITEMS)) < 1 / 6


def sales(display: np.ndarray, responding: np.ndarray | bool = True) -> pa.Table:
    """Every user takes four items a week, items on display more often where they respond."""
    rng = np.random.default_rng(2)
    base_odds = 1.0 / (np.arange(ITEMS) + 10.0)
    rows: dict[str, list[object]] = {name: [] for name in ("user_id", "item_id", "date", "events")}
    for week in range(WEEKS):
        odds = base_odds * np.where(display[week] & responding, DISPLAY_LIFT, 1.0)
        for user in range(USERS):
            for item in rng.choice(ITEMS, 4, replace=False, p=odds / odds.sum()):
                rows["user_id"].append(f"u{user:03}")
                rows["item_id"].append(f"i{item:02}")
                ago = 7 * (WEEKS - 1 - week) + int(rng.integers(7))
                rows["date"].append(THROUGH - timedelta(days=ago))
                rows["events"].append(1.0)
    return pa.table(rows)


def make_changes_query(display: np.ndarray) -> Callable[[date], pa.Table]:
    """Changes as `features/sql/promotion_changes.sql` computes them."""

    def changes(day: date) -> pa.Table:
        week = WEEKS - (THROUGH - day).days // 7
        change = display[week] - display[max(week - 4, 0) : week].mean(axis=0)
        return pa.table(
            {
                "item_id": [f"i{item:02}" for item in range(ITEMS)],
                "display": change.astype(float),
                "mailer": np.zeros(ITEMS),
                "promoted": change.astype(float),
            }
        )

    return changes


def make_weeks_query(display: np.ndarray) -> Callable[[date], pa.Table]:
    """Past weeks as `features/sql/promotion_weeks.sql` computes them."""

    def weeks(day: date) -> pa.Table:
        week = WEEKS - (THROUGH - day).days // 7
        back, item = np.nonzero(display[max(week - 12, 0) : week][::-1])
        return pa.table(
            {
                "item_id": [f"i{number:02}" for number in item],
                "weeks_back": pa.array(back + 1, pa.int32()),
                "share": np.ones(len(item)),
            }
        )

    return weeks


def select_model(changes: Callable[[date], pa.Table] | None) -> DemographicSelection:
    no_traits = pa.table(
        {name: pa.array([], pa.string()) for name in ("user_id", "age_bracket", "gender")}
    ).append_column("location", pa.array([], pa.string()))
    return select_demographic(sales(on_display()), no_traits, THROUGH, CONFIG, changes=changes)


def test_displays_with_an_effect_are_found_and_serve() -> None:
    selection = select_model(make_changes_query(on_display()))
    uplift = selection.model.uplift
    assert selection.candidate == PROMOTED and uplift is not None
    assert uplift.display > 1.2 and uplift.mailer == 0.0
    rows: dict[Any, dict[str, Any]] = {
        row["metric"]: row for row in selection.metrics if row["candidate"] == PROMOTED
    }
    gain = rows["ndcg@10_gain"]
    assert gain["lower"] > 0.02 and rows["ndcg@10_gain_over_popularity"]["lower"] > 0.02
    assert "promotions change the lists" in selection.why
    assert select_model(make_changes_query(on_display())) == selection


def test_responses_are_found_where_only_some_items_respond() -> None:
    display, responding = on_display(), np.arange(ITEMS) % 2 == 0
    rows = sales(display, responding)
    traits = pa.table(
        {name: pa.array([], pa.string()) for name in ("user_id", "age_bracket", "gender")}
    ).append_column("location", pa.array([], pa.string()))
    without_responses, with_responses = (
        select_demographic(
            rows, traits, THROUGH, CONFIG, changes=make_changes_query(display), weeks=weeks
        )
        for weeks in (None, make_weeks_query(display))
    )
    uplift = with_responses.model.uplift
    assert with_responses.candidate == PROMOTED and uplift is not None
    assert uplift.item_response > 0
    slopes = np.array([uplift.responses.get(f"i{item:02}", np.nan) for item in range(ITEMS)])
    assert np.nanmean(slopes[responding]) > 1.0 + np.nanmean(slopes[~responding])
    assert without_responses.model.uplift is not None
    assert without_responses.model.uplift.item_response == 0.0

    def gain(selection: DemographicSelection) -> float:
        key = (PROMOTED, "ndcg@10_gain")
        rows = [row for row in selection.metrics if (row["candidate"], row["metric"]) == key]
        return float(rows[0]["value"] or 0.0)

    assert gain(with_responses) > 1.2 * gain(without_responses)


def test_a_calendar_of_other_weeks_does_not_serve() -> None:
    selection = select_model(make_changes_query(on_display(seed=9)))
    assert selection.model.uplift is None and selection.candidate != PROMOTED
    assert "do not change" in selection.why


@pytest.mark.parametrize("changes", [None, lambda day: NO_CHANGES])
def test_without_a_calendar_no_uplift_is_evaluated(
    changes: Callable[[date], pa.Table] | None,
) -> None:
    selection = select_model(changes)
    assert selection.model.uplift is None
    assert PROMOTED not in {row["candidate"] for row in selection.metrics}


def test_factors_are_the_formula_with_a_minimum() -> None:
    items = pa.array(["a", "b", "c", "d"])
    changes = pa.table(
        {
            "item_id": ["d", "b", "x"],
            "display": [0.5, -1.0, 9.0],
            "mailer": [1.0, 0.0, 9.0],
            "promoted": [1.0, -1.0, 9.0],
        }
    )
    assert align_changes(changes, items).tolist() == [
        [0, 0, 0],
        [-1, 0, -1],
        [0, 0, 0],
        [0.5, 1, 1],
    ]
    uplift = PromotionUplift(display=2.0, mailer=3.0)
    assert uplift.factors(changes, items).tolist() == [1.0, MIN_FACTOR, 1.0, 5.0]
    assert uplift.factors(NO_CHANGES, items).tolist() == [1.0] * 4
    uplift = PromotionUplift(
        0.0, 0.0, item_response=0.5, responses={"d": 4.0}, default_response=1.0
    )
    assert uplift.factors(changes, items).tolist() == [1.0, 0.5, 1.0, 3.0]


def test_a_stored_uplift_changes_the_lists_of_the_day(tmp_path: Path) -> None:
    uplift = PromotionUplift(1.5, 0.0, 0.25, {"cake": 2.0, "tea": 0.1}, 0.3)
    DemographicModel(30.0, NO_ADJUSTMENT, uplift).save(tmp_path)
    model = DemographicModel.load(tmp_path)
    assert model.uplift == uplift
    traits = {"age_bracket": ["65+"] * 3, "gender": ["f"] * 3, "location": ["here"] * 3}
    counts = pa.table({**traits, "item_id": ["tea", "cake", "milk"], "weight": [5.0, 4.0, 1.0]})
    users = pa.table({**{k: v[:1] for k, v in traits.items()}, "users": [9]})
    segments = pa.table(
        {"segment_level": ["everyone"], **{name: pa.nulls(1, pa.string()) for name in traits}}
    )
    changes = pa.table({"item_id": ["cake"], "display": [1.0], "mailer": [0.0], "promoted": [1.0]})
    lists = model.ranker(counts, users, changes).top_k(segments, 3)
    assert lists["item_id"].to_pylist() == ["cake", "tea", "milk"]
    # Shares still add up to 1: 4 x 3 of 5 + 4 x 3 + 1.
    assert lists["score"].to_pylist() == pytest.approx([12 / 18, 5 / 18, 1 / 18])
    unchanged = model.ranker(counts, users, NO_CHANGES).top_k(segments, 3)
    assert unchanged["item_id"].to_pylist() == ["tea", "cake", "milk"]
