"""Plots of the weekly sentiment tables."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from batch_predictions.reporting import legend_outside, new_axes
from batch_predictions.warehouse import Warehouse, as_date

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RED, GREY, BLUE = "#e45756", "#bab0ac", "#4c78a8"


def distribution(warehouse: Warehouse, week: str) -> Figure | None:
    """Left: how sure the week's sentiments are. Right: whether the pleased give high ratings.

    The right side is calibration: of reviews with a rating, the share rated 4 or 5 by tenths of
    the probability of positive.
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

    figure, ax = new_axes(f"{len(rows):,} reviews of the week of {week}{_made_up(rows)}", width=9)
    ax.set_position((0.08, 0.15, 0.4, 0.72))
    bins = np.linspace(0, 1, 21)
    for name, colour in (("p_negative", RED), ("p_positive", BLUE)):
        ax.hist([row[name] for row in rows], bins, histtype="step", color=colour, label=name)
    ax.set_xlabel("probability", fontsize=9)
    ax.set_ylabel("reviews", fontsize=9)
    ax.legend(fontsize=8, frameon=False)
    rated = [(row["p_positive"], row["rating"] >= 4) for row in rows if row["rating"] is not None]
    if rated:
        right = figure.add_axes((0.58, 0.15, 0.38, 0.72))
        guess, truth = (np.array(each, dtype=float) for each in zip(*rated, strict=True))
        tenth = np.minimum((guess * 10).astype(int), 9)
        there = [n for n in range(10) if (tenth == n).sum() >= 5]
        right.plot([0, 1], [0, 1], color=GREY, linewidth=1)
        right.plot(
            [guess[tenth == n].mean() for n in there],
            [truth[tenth == n].mean() for n in there],
            marker="o",
            color=BLUE,
        )
        right.set_xlabel("p_positive, by tenths", fontsize=9)
        right.set_ylabel("share rated 4 or 5", fontsize=9)
        right.tick_params(labelsize=8)
        right.spines[["top", "right"]].set_visible(False)
    return figure


def moved(warehouse: Warehouse, week: str) -> Figure | None:
    """The course of the items that moved most: net sentiment by week, with intervals."""
    rows = warehouse.query(
        """with most as (select item_id from predictions.item_sentiments where week = $week
            order by changed desc, change_p nulls last, abs(change) desc nulls last, item_id
            limit 5)
        select week, item_id, net_sentiment, net_lower, net_upper, net_sentiment - change as before,
            simulated from predictions.item_sentiments semi join most using (item_id)
        where week <= $week and week > $week - 84 order by item_id, week""",
        {"week": as_date(week)},
    ).to_pylist()
    if not rows:
        return None
    shown: set[dt.date] = set()
    figure, ax = new_axes(f"Items whose sentiment moved most, {week}{_made_up(rows)}")
    for n, item in enumerate(dict.fromkeys(row["item_id"] for row in rows)):
        mine = [row for row in rows if row["item_id"] == item]
        colour = f"C{n}"
        values = [row["net_sentiment"] for row in mine]
        weeks = [row["week"] for row in mine]
        first = mine[-1]
        if len(mine) == 1 and first["before"] is not None:
            # One week made so far: what the weeks before were stands in the same row.
            weeks = [first["week"] - dt.timedelta(days=14), *weeks]
            values = [first["before"], *values]
        shown.update(weeks)
        ax.plot(weeks, values, marker="o", color=colour, label=item)
        for row in mine:
            ax.plot(
                [row["week"]] * 2, [row["net_lower"], row["net_upper"]], color=colour, alpha=0.4
            )
    ticks = sorted(shown)
    ax.set_xticks(ticks, [f"{each.day} {each:%b}" for each in ticks])
    ax.set_xlabel("week of", fontsize=9)
    ax.set_ylabel("net sentiment", fontsize=9)
    ax.set_ylim(-1.05, 1.05)
    legend_outside(ax)
    return figure


def terms(warehouse: Warehouse, week: str) -> Figure | None:
    """The terms of most weight over all items of the week."""
    rows = warehouse.query(
        """select term, sum(log_odds) as weight, bool_or(simulated) as simulated
        from predictions.aspects where week = $week
        group by term order by abs(weight) desc, term limit 20""",
        {"week": as_date(week)},
    ).to_pylist()
    if not rows:
        return None
    rows.sort(key=lambda row: row["weight"])
    figure, ax = new_axes(f"Terms that push sentiment, {week}{_made_up(rows)}", height=4)
    colours = [BLUE if row["weight"] > 0 else RED for row in rows]
    ax.barh([row["term"] for row in rows], [row["weight"] for row in rows], color=colours)
    ax.set_xlabel("log-odds, summed over items", fontsize=9)
    return figure


def _made_up(rows: list[dict[str, Any]]) -> str:
    return " (simulated)" if any(row["simulated"] for row in rows) else ""
