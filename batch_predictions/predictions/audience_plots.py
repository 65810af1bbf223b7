"""Plots of churn scores and of the retention and promotion audiences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse import plot_style as style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DAYS_PER_BAR = 14


def plot_churn_probabilities(warehouse: Warehouse, day: str) -> Figure | None:
    """Draws a histogram of churn probabilities."""
    rows = warehouse.query(
        "select churn_probability from predictions.churn_scores where date = $date",
        {"date": as_date(day)},
    )
    if not rows.num_rows:
        return None
    probabilities = rows["churn_probability"].to_numpy()
    figure, ax = style.new_axes(
        f"{len(probabilities):,} active customers, {probabilities.sum():,.0f} of them expected to "
        f"churn, {day}",
        "probability of churn",
        "customers",
    )
    ax.hist(probabilities, np.linspace(0, 1, 41))
    style.log_scale(ax, "y")
    return figure


def plot_retention_audience(warehouse: Warehouse, day: str) -> Figure | None:
    """Customers by days inactive and by age bracket, with their expected value."""
    rows = warehouse.query(
        """select audience.days_inactive, audience.held_out, audience.expected_value,
            segments.age_bracket
        from predictions.retention_audience as audience
        join features.user_segments as segments
        on segments.user_id = audience.user_id and segments.date = $date
        where audience.date = $date order by audience.rank""",
        {"date": as_date(day)},
    ).to_pylist()
    if not rows:
        return None
    title = f"Retention audience of {day}, {len(rows):,} customers; above bars: expected value"
    figure, [ax, age_ax] = style.new_panes(title, 2, 1, height=5)
    bars = {row["days_inactive"] // DAYS_PER_BAR for row in rows}
    labels = {
        bar: f"{DAYS_PER_BAR * bar}-{DAYS_PER_BAR * bar + DAYS_PER_BAR - 1}" for bar in sorted(bars)
    }
    row_labels = [labels[row["days_inactive"] // DAYS_PER_BAR] for row in rows]
    _draw_stacked_bars(ax, rows, row_labels, list(labels.values()))
    style.label_axes(ax, "days inactive", "customers")
    age_brackets = sorted(
        {row["age_bracket"] for row in rows},
        key=lambda age: (age == "unknown", age != "under 19", age),
    )
    _draw_stacked_bars(age_ax, rows, [row["age_bracket"] for row in rows], age_brackets)
    style.label_axes(age_ax, "age bracket", "customers")
    style.legend_outside(age_ax)
    return figure


def plot_promotion_audience(warehouse: Warehouse, day: str) -> Figure | None:
    """Customers of the largest campaigns, and how many of them bought its items before."""
    rows = warehouse.query(
        """select campaign_id, count(*) filter (not held_out) as contacted,
            count(*) filter (held_out) as held_out,
            count(*) filter (own_items > 0) as earlier_buyers
        from predictions.promotion_audience where date = $date group by 1
        order by count(*) desc, campaign_id limit 20""",
        {"date": as_date(day)},
    ).to_pydict()
    if not rows["campaign_id"]:
        return None
    figure, ax = style.new_axes(f"Promotion audiences, {day}", "campaign", "customers")
    names = [str(campaign) for campaign in rows["campaign_id"]]
    ax.bar(names, rows["contacted"], color=style.SERVED, label="to contact")
    ax.bar(
        names, rows["held_out"], bottom=rows["contacted"], color=style.BASELINE, label="held out"
    )
    ax.plot(
        names, rows["earlier_buyers"], "o", color=style.OBSERVED, label="bought its items before"
    )
    style.legend_outside(ax)
    return figure


def _draw_stacked_bars(
    ax: Any, rows: Sequence[dict[str, Any]], row_labels: Sequence[str], bar_labels: Sequence[str]
) -> None:
    """Draws bars of customers to contact and held out, with the sum of expected values above.

    Args:
        ax: where to draw.
        rows: customers with held_out and expected_value.
        row_labels: the bar of each row.
        bar_labels: the bars in their order.
    """
    for x, label in enumerate(bar_labels):
        in_bar = [row for row, name in zip(rows, row_labels, strict=True) if name == label]
        held_out = sum(row["held_out"] for row in in_bar)
        contacted = len(in_bar) - held_out
        legend = {"contacted": "to contact", "held_out": "held out"} if x == 0 else {}
        ax.bar(label, contacted, color=style.SERVED, label=legend.get("contacted"))
        ax.bar(
            label, held_out, bottom=contacted, color=style.BASELINE, label=legend.get("held_out")
        )
        value = sum(row["expected_value"] for row in in_bar)
        ax.text(x, len(in_bar), f"{value:,.0f}", ha="center", va="bottom", fontsize=8)
    ax.margins(y=0.12)
