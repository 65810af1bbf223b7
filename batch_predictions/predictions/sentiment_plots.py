"""Plots of the weekly sentiment tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.reporting import item_labels, legend_outside, new_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RED, GREY, BLUE = "#e45756", "#bab0ac", "#4c78a8"
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
    figure, ax = new_axes(title, width=9)
    ax.set_position((0.08, 0.15, 0.4, 0.72))
    bins = np.linspace(0, 1, 21)
    for name, colour in (("p_negative", RED), ("p_positive", BLUE)):
        ax.hist([row[name] for row in rows], bins, histtype="step", color=colour, label=name)
    ax.set_xlabel("probability", fontsize=9)
    ax.set_ylabel("reviews", fontsize=9)
    ax.legend(fontsize=8, frameon=False)
    _plot_reliability(figure, [row for row in rows if row["rating"] is not None])
    return figure


def _plot_reliability(figure: Figure, rated: Sequence[dict[str, Any]]) -> None:
    """Adds the reliability diagram of rated reviews on the right."""
    if not rated:
        return
    import numpy as np

    ax = figure.add_axes((0.58, 0.15, 0.38, 0.72))
    predicted = np.array([row["p_positive"] for row in rated], dtype=float)
    observed = np.array([row["rating"] >= 4 for row in rated], dtype=float)
    tenth = np.minimum((predicted * 10).astype(int), 9)
    populated = [n for n in range(10) if (tenth == n).sum() >= MIN_REVIEWS_PER_BIN]
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    ax.plot(
        [predicted[tenth == n].mean() for n in populated],
        [observed[tenth == n].mean() for n in populated],
        marker="o",
        color=BLUE,
    )
    ax.set_xlabel("p_positive, by tenths", fontsize=9)
    ax.set_ylabel("share rated 4 or 5", fontsize=9)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)


def plot_changes(warehouse: Warehouse, week: str) -> Figure | None:
    """Draws net sentiment by week, with intervals, of the five items that changed most."""
    rows = warehouse.query(
        """with most as (select item_id from predictions.item_sentiments where week = $week
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
    ticks: set[dt.date] = set()
    title = f"Items with the largest change of sentiment, {week}{_simulated_note(rows)}"
    figure, ax = new_axes(title)
    titles = {row["item_id"]: row["title"] for row in rows}
    labels = item_labels([(title, item_id) for item_id, title in titles.items()])
    for n, (item_id, label) in enumerate(zip(titles, labels, strict=True)):
        item_rows = [row for row in rows if row["item_id"] == item_id]
        colour = f"C{n}"
        values = [row["net_sentiment"] for row in item_rows]
        weeks = [row["week"] for row in item_rows]
        earlier_mean = item_rows[-1]["before"]
        if len(item_rows) == 1 and earlier_mean is not None:
            # With a single week, the mean of the earlier weeks is drawn before it.
            weeks = [weeks[0] - dt.timedelta(days=14), *weeks]
            values = [earlier_mean, *values]
        ticks.update(weeks)
        ax.plot(weeks, values, marker="o", color=colour, label=label)
        for row in item_rows:
            ax.plot(
                [row["week"]] * 2, [row["net_lower"], row["net_upper"]], color=colour, alpha=0.4
            )
    ordered_ticks = sorted(ticks)
    ax.set_xticks(ordered_ticks, [f"{tick.day} {tick:%b}" for tick in ordered_ticks])
    ax.set_xlabel("week of", fontsize=9)
    ax.set_ylabel("net sentiment", fontsize=9)
    ax.set_ylim(-1.05, 1.05)
    legend_outside(ax)
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
    rows.sort(key=lambda row: row["weight"])
    title = f"Terms of positive and negative reviews, {week}{_simulated_note(rows)}"
    figure, ax = new_axes(title, height=4)
    colours = [BLUE if row["weight"] > 0 else RED for row in rows]
    ax.barh([row["term"] for row in rows], [row["weight"] for row in rows], color=colours)
    ax.set_xlabel("log-odds, summed over items", fontsize=9)
    return figure


def _simulated_note(rows: Sequence[dict[str, object]]) -> str:
    return " (simulated)" if any(row["simulated"] for row in rows) else ""
