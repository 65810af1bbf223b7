"""A planted calendar moves what everybody takes, and is found; one that says nothing is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.demographic.model import NO_ADJUSTMENT, DemographicModel
from batch_predictions.models.demographic.promotion_uplift import FLOOR, PromotionUplift, spread
from batch_predictions.models.demographic.selection import (
    PROMOTED,
    DemographicSelection,
    select_demographic,
)

THROUGH = date(2024, 3, 31)
WEEKS, USERS, ITEMS = 12, 150, 60
TIMES = 6.0
"""How many times as much of an item on display is taken."""
NOTHING = pa.table(
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
    """Everybody takes a few items a week, those on display more often where they respond."""
    random = np.random.default_rng(2)
    usual = 1.0 / (np.arange(ITEMS) + 10.0)
    rows: dict[str, list[object]] = {name: [] for name in ("user_id", "item_id", "date", "events")}
    for week in range(WEEKS):
        odds = usual * np.where(display[week] & responding, TIMES, 1.0)
        for user in range(USERS):
            for item in random.choice(ITEMS, 4, replace=False, p=odds / odds.sum()):
                rows["user_id"].append(f"u{user:03}")
                rows["item_id"].append(f"i{item:02}")
                ago = 7 * (WEEKS - 1 - week) + int(random.integers(7))
                rows["date"].append(THROUGH - timedelta(days=ago))
                rows["events"].append(1.0)
    return pa.table(rows)


def known(display: np.ndarray) -> Callable[[date], pa.Table]:
    """The changes as `features/promotion_changes.sql` has them."""

    def changes(day: date) -> pa.Table:
        week = WEEKS - (THROUGH - day).days // 7
        moved = display[week] - display[max(week - 4, 0) : week].mean(axis=0)
        return pa.table(
            {
                "item_id": [f"i{item:02}" for item in range(ITEMS)],
                "display": moved.astype(float),
                "mailer": np.zeros(ITEMS),
                "promoted": moved.astype(float),
            }
        )

    return changes


def before(display: np.ndarray) -> Callable[[date], pa.Table]:
    """The weeks before as `features/promotion_weeks.sql` has them."""

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


def chosen(changes: Callable[[date], pa.Table] | None) -> DemographicSelection:
    nobody = pa.table(
        {name: pa.array([], pa.string()) for name in ("user_id", "age_bracket", "gender")}
    ).append_column("location", pa.array([], pa.string()))
    return select_demographic(sales(on_display()), nobody, THROUGH, seed=0, changes=changes)


def test_displays_that_move_everybody_are_found_and_serve() -> None:
    selection = chosen(known(on_display()))
    calendar = selection.model.calendar
    assert selection.candidate == PROMOTED and calendar is not None
    assert calendar.display > 1.2 and calendar.mailer == 0.0
    rows = {row["metric"]: row for row in selection.metrics if row["candidate"] == PROMOTED}
    gain = rows["ndcg@10_gain"]
    assert gain["lower"] > 0.02 and rows["ndcg@10_gain_over_popularity"]["lower"] > 0.02
    assert "promotions move all lists" in selection.why
    assert chosen(known(on_display())) == selection


def test_where_only_some_items_respond_it_is_they_that_are_moved() -> None:
    display, responding = on_display(), np.arange(ITEMS) % 2 == 0
    rows = sales(display, responding)
    traits = pa.table(
        {name: pa.array([], pa.string()) for name in ("user_id", "age_bracket", "gender")}
    ).append_column("location", pa.array([], pa.string()))
    alike, own = (
        select_demographic(rows, traits, THROUGH, seed=0, changes=known(display), weeks=weeks)
        for weeks in (None, before(display))
    )
    found = own.model.calendar
    assert own.candidate == PROMOTED and found is not None and found.own > 0
    slopes = np.array([found.responses.get(f"i{item:02}", np.nan) for item in range(ITEMS)])
    assert np.nanmean(slopes[responding]) > 1.0 + np.nanmean(slopes[~responding])
    assert alike.model.calendar is not None and alike.model.calendar.own == 0.0

    def gain(selection: DemographicSelection) -> float:
        key = (PROMOTED, "ndcg@10_gain")
        rows = [row for row in selection.metrics if (row["candidate"], row["metric"]) == key]
        return float(rows[0]["value"] or 0.0)

    assert gain(own) > 1.2 * gain(alike)


def test_a_calendar_of_other_weeks_does_not_serve() -> None:
    selection = chosen(known(on_display(seed=9)))
    assert selection.model.calendar is None and selection.candidate != PROMOTED
    assert "do not move" in selection.why


@pytest.mark.parametrize("changes", [None, lambda day: NOTHING])
def test_without_a_calendar_nothing_is_tried(
    changes: Callable[[date], pa.Table] | None,
) -> None:
    selection = chosen(changes)
    assert selection.model.calendar is None
    assert PROMOTED not in {row["candidate"] for row in selection.metrics}


def test_a_factor_multiplies_and_has_a_floor() -> None:
    items = pa.array(["a", "b", "c", "d"])
    changes = pa.table(
        {
            "item_id": ["d", "b", "x"],
            "display": [0.5, -1.0, 9.0],
            "mailer": [1.0, 0.0, 9.0],
            "promoted": [1.0, -1.0, 9.0],
        }
    )
    assert spread(changes, items).tolist() == [[0, 0, 0], [-1, 0, -1], [0, 0, 0], [0.5, 1, 1]]
    factor = PromotionUplift(display=2.0, mailer=3.0)
    assert factor.on(changes, items).tolist() == [1.0, FLOOR, 1.0, 5.0]
    assert factor.on(NOTHING, items).tolist() == [1.0] * 4
    own = PromotionUplift(0.0, 0.0, own=0.5, responses={"d": 4.0}, usual_response=1.0)
    assert own.on(changes, items).tolist() == [1.0, 0.5, 1.0, 3.0]


def test_a_stored_calendar_moves_the_lists_of_the_day(tmp_path: Path) -> None:
    calendar = PromotionUplift(1.5, 0.0, 0.25, {"cake": 2.0, "tea": 0.1}, 0.3)
    DemographicModel(30.0, NO_ADJUSTMENT, calendar).save(tmp_path)
    model = DemographicModel.load(tmp_path)
    assert model.calendar == calendar
    people = {"age_bracket": ["65+"] * 3, "gender": ["f"] * 3, "location": ["here"] * 3}
    counts = pa.table({**people, "item_id": ["tea", "cake", "milk"], "weight": [5.0, 4.0, 1.0]})
    users = pa.table({**{k: v[:1] for k, v in people.items()}, "users": [9]})
    wanted = pa.table(
        {"segment_level": ["everyone"], **{name: pa.nulls(1, pa.string()) for name in people}}
    )
    changes = pa.table({"item_id": ["cake"], "display": [1.0], "mailer": [0.0], "promoted": [1.0]})
    lists = model.ranker(counts, users, changes).top_k(wanted, 3)
    assert lists["item_id"].to_pylist() == ["cake", "tea", "milk"]
    # Shares still add up to 1: 4 x 3 of 5 + 4 x 3 + 1.
    assert lists["score"].to_pylist() == pytest.approx([12 / 18, 5 / 18, 1 / 18])
    plain = model.ranker(counts, users, NOTHING).top_k(wanted, 3)
    assert plain["item_id"].to_pylist() == ["tea", "cake", "milk"]
