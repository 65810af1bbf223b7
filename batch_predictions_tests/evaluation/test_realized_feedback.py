"""Click and purchase rates of a planted world, by list, position, reason and model's version."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from batch_predictions.evaluation.realized_feedback import measure_feedback
from batch_predictions.settings import Settings
from batch_predictions.tables import DEMOGRAPHIC_RECOMMENDATIONS, FEEDBACK, RECOMMENDATIONS
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.table_rows import write_rows

AS_OF = dt.date(2024, 3, 1)
SHOWN = AS_OF + dt.timedelta(days=1)
MEASURED = SHOWN + dt.timedelta(days=1)
RELEASE = f"{AS_OF}-0123abcd"
USERS, ITEMS = 60, 5


def write_lists(warehouse: Warehouse) -> None:
    """Users u0 to u39 have personal lists; the others get that of everyone."""
    warehouse.replace_partition(
        RECOMMENDATIONS,
        str(AS_OF),
        "select 'u' || u as user_id, r as rank, 'p' || r as item_id, 1.0 / r as score, "
        "case when r = 1 then 'bought_before' else 'because_you_liked:x' || u end as reason, "
        "'als-1' as model_version from range(40) as a(u), range(1, 6) as b(r)",
    )
    warehouse.replace_partition(
        DEMOGRAPHIC_RECOMMENDATIONS,
        str(AS_OF),
        "select 'everyone' as segment_level, null as age_bracket, null as gender, "
        "null as location, r as rank, 'q' || r as item_id, 0.1 as score, 9 as support, "
        "'demo-1' as model_version from range(1, 6) as b(r)",
    )


def reaction(user: int, rank: int, event_type: str, day: dt.date, **changes: Any) -> dict[str, Any]:
    is_personal = user < 40
    item = f"{'p' if is_personal else 'q'}{rank}"
    return {
        "date": day,
        "event_id": f"{event_type}-{user}-{item}-{day}",
        "event_type": event_type,
        "user_id": f"u{user}",
        "item_id": item,
        "recommendation_id": f"{RELEASE}-{user:024d}",
        "release_id": RELEASE,
        "source": "personal" if is_personal else "popular",
        "rank": rank,
        "bucket": None,
        "occurred_at": dt.datetime.combine(day, dt.time(10)),
        **changes,
    }


def write_events(warehouse: Warehouse, events: list[dict[str, Any]]) -> None:
    write_rows(warehouse, FEEDBACK, events, SHOWN, MEASURED, MEASURED + dt.timedelta(days=1))


def measured(warehouse: Warehouse, settings: Settings, day: dt.date = MEASURED) -> dict[str, Any]:
    return {str(row["metric"]): row for row in measure_feedback(warehouse, settings, day)}


def planted_events() -> list[dict[str, Any]]:
    """Everything is shown; the first item is clicked, the second one bought.

    By half of the users, and by a quarter of those with a personal list, partly on the next day.
    """
    shown = [reaction(u, r, "impression", SHOWN) for u in range(USERS) for r in range(1, ITEMS + 1)]
    clicks = [reaction(u, 1, "click", SHOWN if u % 4 else MEASURED) for u in range(0, USERS, 2)]
    bought = [reaction(u, 2, "purchase", MEASURED) for u in range(0, 40, 4)]
    return [*shown, *clicks, *bought]


def test_known_rates_are_found(warehouse: Warehouse, settings: Settings) -> None:
    write_lists(warehouse)
    # An item that is shown twice, or clicked twice, counts once.
    again = [
        reaction(0, 1, "impression", SHOWN, event_id="again"),
        reaction(2, 1, "click", SHOWN, event_id="again, too"),
        # The day after the next is not measured.
        reaction(1, 3, "click", MEASURED + dt.timedelta(days=1)),
    ]
    write_events(warehouse, [*planted_events(), *again])
    metrics = measured(warehouse, settings)
    values = {name: row["value"] for name, row in metrics.items()}
    assert values["click_rate"] == pytest.approx(0.5 / ITEMS)
    assert metrics["click_rate"]["n"] == USERS * ITEMS
    assert values["click_rate:position=1"] == 0.5 and values["click_rate:position=2"] == 0
    assert values["purchase_rate:position=2"] == pytest.approx(10 / USERS)
    assert values["click_rate:source=personal"] == values["click_rate:source=popular"]
    assert values["purchase_rate:source=popular"] == 0
    assert values["purchase_rate:source=personal"] == pytest.approx(0.25 / ITEMS)
    assert values["click_rate:reason=bought_before"] == 0.5
    assert values["purchase_rate:reason=because_you_liked"] == pytest.approx(0.25 / 4)
    assert metrics["click_rate:model_version=als-1"]["n"] == 40 * ITEMS
    assert metrics["click_rate:model_version=demo-1"]["n"] == 20 * ITEMS
    assert values["lists_clicked"] == 0.5 and metrics["lists_clicked"]["n"] == USERS
    assert values["lists_bought_from:source=personal"] == 0.25
    row = metrics["lists_clicked"]
    assert 0.3 < row["lower"] < 0.5 < row["upper"] < 0.7
    assert not any("bucket" in name for name in metrics)
    # What was not over on the day is not known on it.
    assert measured(warehouse, settings, SHOWN)["feedback_without_answer"]["value"] == 0
    assert "click_rate" not in measured(warehouse, settings, SHOWN)


def test_what_is_not_reported_is_found_in_the_predictions_or_said(
    warehouse: Warehouse, settings: Settings
) -> None:
    write_lists(warehouse)
    bare = {"source": None, "rank": None}
    events = [
        reaction(0, 2, "impression", SHOWN) | bare,
        reaction(50, 2, "impression", SHOWN) | bare,
        # Of no answer, and of an answer of another service.
        reaction(1, 1, "click", MEASURED, recommendation_id=None, release_id=None),
        reaction(3, 1, "click", MEASURED, recommendation_id="x", release_id=None),
        reaction(0, 2, "click", MEASURED),
        reaction(5, 1, "click", MEASURED),
    ]
    write_events(warehouse, events)
    metrics = measured(warehouse, settings)
    assert metrics["click_rate:source=personal"]["value"] == 1
    assert metrics["click_rate:position=2"]["n"] == 1
    for part in ("source", "position", "reason"):
        assert metrics[f"click_rate:{part}=not_reported"]["value"] == 0
    assert metrics["click_rate:model_version=not_known"]["n"] == 1
    assert metrics["feedback_without_answer"]["value"] == 0.5
    assert metrics["reactions_without_impression"]["value"] == pytest.approx(2 / 3)


def test_lists_of_an_earlier_day_that_a_release_carried_are_found(
    warehouse: Warehouse, settings: Settings
) -> None:
    write_lists(warehouse)
    later = f"{SHOWN}-0123abcd"
    shown = reaction(
        0, 1, "impression", MEASURED, release_id=later, recommendation_id=f"{later}-{0:024d}"
    )
    write_events(warehouse, [shown])
    metrics = measured(warehouse, settings, MEASURED + dt.timedelta(days=1))
    assert metrics["click_rate:model_version=als-1"]["n"] == 1
    assert metrics["click_rate:reason=bought_before"]["n"] == 1


@hypothesis_settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    events=st.lists(
        st.tuples(
            st.integers(38, 42),
            st.integers(1, 3),
            st.sampled_from(["impression", "click", "purchase"]),
            st.sampled_from([SHOWN, MEASURED]),
            st.sampled_from(["a", "b", None]),
        ),
        max_size=40,
        unique_by=lambda event: event[:4],
    )
)
def test_rates_equal_those_that_are_counted_one_by_one(
    warehouse: Warehouse, settings: Settings, events: list[Any]
) -> None:
    write_lists(warehouse)
    rows = [reaction(u, r, kind, day, bucket=b) for u, r, kind, day, b in events]
    write_events(warehouse, rows)
    metrics = measured(warehouse, settings)
    shown: dict[tuple[str, str], dict[str, Any]] = {
        (row["user_id"], row["item_id"]): row
        for row in rows
        if row["event_type"] == "impression" and row["date"] == SHOWN
    }
    counts, clicked = Counter[str](), Counter[str]()
    clicks = {(r["user_id"], r["item_id"]) for r in rows if r["event_type"] == "click"}
    for key, row in shown.items():
        parts = ["", f":source={row['source']}", f":position={row['rank']}"]
        parts += [f":bucket={row['bucket']}"] if row["bucket"] else []
        for part in parts:
            counts[part] += 1
            clicked[part] += key in clicks
    measured_parts = {
        name.removeprefix("click_rate"): row
        for name, row in metrics.items()
        if name.startswith("click_rate") and "reason" not in name and "version" not in name
    }
    assert {part: row["n"] for part, row in measured_parts.items()} == counts
    for part, row in measured_parts.items():
        assert row["value"] == pytest.approx(clicked[part] / counts[part])
