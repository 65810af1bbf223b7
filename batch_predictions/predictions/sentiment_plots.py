"""Plots of the weekly sentiment tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse import plot_style as style
from batch_predictions.warehouse.reporting import item_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIN_REVIEWS_PER_BIN = 5


def plot_probabilities(warehouse: Warehouse, week: str) -> Figure | None:
    """Draws the distribution of the week's probabilities (left) and a reliability diagram (right).

    The reliability diagram shows, by tenths of p_positive, the share of reviews that are rated 4
    or 5; it is drawn where reviews have ratings.
    """
    rows = warehouse.query(
        """select s.p_positive, s.p_negative, r.rating, s.simulated
        from predictions.review_sentiments s join raw.reviews r
        on r.review_id = s.review_id and r.date >= $week and r.date <= $week + 6
        where s.week = $week order by s.review_id""",
        {"week": as_date(week)},
    ).to_pylist()
    if not rows:
        return None
    import numpy as np

    title = f"{len(rows):,} reviews of the week of {week}{_simulated_note(rows)}"
    rated = [row for row in rows if row["rating"] is not None]
    figure, panes = style.new_panes(title, 1, 2 if rated else 1)
    bins = np.linspace(0, 1, 21)
    for name, colour in (("p_negative", style.BAD), ("p_positive", style.GOOD)):
        values = [row[name] for row in rows]
        panes[0].hist(values, bins, histtype="step", linewidth=1.4, color=colour, label=name)
    style.label_axes(panes[0], "probability", "reviews")
    panes[0].legend(fontsize=8, frameon=False, loc="upper center")
    if rated:
        _plot_reliability(panes[1], rated)
    return figure


def _plot_reliability(ax: Any, rated: Sequence[dict[str, Any]]) -> None:
    """Draws the reliability diagram of rated reviews."""
    import numpy as np

    predicted = np.array([row["p_positive"] for row in rated], dtype=float)
    observed = np.array([row["rating"] >= 4 for row in rated], dtype=float)
    tenth = np.minimum((predicted * 10).astype(int), 9)
    populated = [n for n in range(10) if (tenth == n).sum() >= MIN_REVIEWS_PER_BIN]
    ax.plot([0, 1], [0, 1], color=style.BASELINE, linewidth=1)
    ax.plot(
        [predicted[tenth == n].mean() for n in populated],
        [observed[tenth == n].mean() for n in populated],
        marker="o",
        color=style.GOOD,
    )
    style.label_axes(ax, "p_positive, by tenths", "share rated 4 or 5")


def plot_changes(warehouse: Warehouse, week: str) -> Figure | None:
    """Draws net sentiment by week of the five items that changed most; None in a first week."""
    rows = warehouse.query(
        """with most as (select item_id from predictions.item_sentiments
            where week = $week and change is not null
            order by changed desc, change_p nulls last, abs(change) desc nulls last, item_id
            limit 5)
        select week, item_id, net_sentiment, net_lower, net_upper, net_sentiment - change as before,
            simulated, (select any_value(title) from raw.items where item_id = s.item_id) as title
        from predictions.item_sentiments s semi join most using (item_id)
        where week <= $week and week > $week - 84 order by item_id, week""",
        {"week": as_date(week)},
    ).to_pylist()
    if not rows:
        return None
    drawn: set[dt.date] = set()
    title = f"Items with the largest change of sentiment, {week}{_simulated_note(rows)}"
    figure, ax = style.new_axes(title, "week of", "net sentiment, 95 % intervals")
    titles = {row["item_id"]: row["title"] for row in rows}
    labels = item_labels([(title, item_id) for item_id, title in titles.items()])
    for item_id, label, colour in zip(titles, labels, style.SERIES, strict=False):
        item_rows = [row for row in rows if row["item_id"] == item_id]
        values = [row["net_sentiment"] for row in item_rows]
        weeks = [row["week"] for row in item_rows]
        earlier_mean = item_rows[-1]["before"]
        if len(item_rows) == 1 and earlier_mean is not None:
            # With a single week, the mean of the earlier weeks is drawn before it.
            weeks = [weeks[0] - dt.timedelta(days=14), *weeks]
            values = [earlier_mean, *values]
        drawn.update(weeks)
        ax.plot(weeks, values, marker="o", color=colour, label=label)
        for row in item_rows:
            ax.plot(
                [row["week"]] * 2, [row["net_lower"], row["net_upper"]], color=colour, alpha=0.4
            )
    style.date_axis(ax, drawn)
    ax.set_ylim(-1.05, 1.05)
    style.legend_outside(ax)
    return figure


def plot_terms(warehouse: Warehouse, week: str) -> Figure | None:
    """Draws the 20 terms with the largest absolute log-odds, summed over the items of the week."""
    rows = warehouse.query(
        """select term, sum(log_odds) as weight, bool_or(simulated) as simulated
        from predictions.aspects where week = $week
        group by term order by abs(weight) desc, term limit 20""",
        {"week": as_date(week)},
    ).to_pylist()
    if not rows:
        return None
    rows.sort(key=lambda row: -row["weight"])
    title = f"Terms of positive and negative reviews, {week}{_simulated_note(rows)}"
    terms, weights = [row["term"] for row in rows], [row["weight"] for row in rows]
    figure, ax = style.new_axes(title, "log-odds, summed over items", rows=terms)
    colours = [style.GOOD if weight > 0 else style.BAD for weight in weights]
    ax.barh(range(len(rows)), weights, color=colours)
    return figure


def _simulated_note(rows: Sequence[dict[str, object]]) -> str:
    return " (simulated)" if any(row["simulated"] for row in rows) else ""
