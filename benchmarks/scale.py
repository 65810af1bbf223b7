"""Cost of a night by the size of a shop: a plot and a table of measured sizes, and larger ones.

    python benchmarks/scale.py docs/images/scale.png FILE…

FILE is what `batch-predictions benchmark night --json` printed, one for each size, of all steps or
some. A larger shop takes as many times as long as the largest measured one as it is larger in what
the step works on (`DRIVERS`); where these are two, both shares are fitted to all measured shops by
the smallest relative errors, none negative.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from batch_predictions.cli.console.printing import print_table
from batch_predictions.warehouse.plot_style import SERIES, legend_outside, log_scale, new_axes

DRIVERS: Mapping[str, Sequence[str]] = {
    "ingest_history": ("events",),
    "first_features": ("events",),
    "ingest_day": ("daily",),
    "features": ("users", "daily"),
    "predict": ("users",),
    "release": ("users",),
}
"""What each step's seconds grow with; trainings read samples, and do not grow."""
FULL_HISTORY_DAYS = 90
"""Shops of fewer days are crosses beside the lines, of the steps that history does not slow."""
SHORT_STEPS = ("ingest_day", "features")
"""Steps of a shop of few days that say what a larger shop's take."""
LARGER = ((1_000_000_000, 10_000_000), (10_000_000_000, 100_000_000))
"""Events and users of shops that are extrapolated, in 180 days."""
Shop = Mapping[str, Any]


def size(shop: Shop, driver: str) -> float:
    """How large a shop is in what a step works on; `daily` is events of a day."""
    return float(shop["events"] / shop["days"] if driver == "daily" else shop[driver])


def extrapolate(shops: Sequence[Shop], step: str, larger: Shop) -> float:
    """Seconds that a step takes for a larger shop than the measured ones."""
    from scipy.optimize import nnls

    drivers = DRIVERS[step]
    measured = sorted(
        (shop for shop in shops if step in shop["steps"]), key=lambda shop: size(shop, drivers[0])
    )
    if len(drivers) == 1:
        measured = measured[-1:]
    seconds = np.array([shop["steps"][step]["seconds"] for shop in measured])
    sizes = np.array([[size(shop, driver) for driver in drivers] for shop in measured])
    # Of the order of 1, since users and events differ by orders of magnitude.
    unit = sizes.max(axis=0)
    factors, _ = nnls(sizes / unit / seconds[:, None], np.ones(len(seconds)))
    return float(sum(factors / unit * [size(larger, driver) for driver in drivers]))


def main() -> None:
    """The plot, and the table with measured and extrapolated seconds."""
    plot, *files = map(Path, sys.argv[1:])
    shops = [json.loads(file.read_text(encoding="utf-8").splitlines()[-1]) for file in files]
    for shop in shops:
        if shop["days"] < FULL_HISTORY_DAYS:
            shop["steps"] = {step: shop["steps"][step] for step in SHORT_STEPS}
    shops.sort(key=lambda shop: shop["users"])
    larger = [{"events": events, "users": users, "days": 180} for events, users in LARGER]
    title = "Seconds of each step on two cores, by users of the shop"
    figure, ax = new_axes(title, "users", "seconds", width=8, height=4.5)
    rows = {
        (shop["users"], shop["events"]): {"users": shop["users"], "events": shop["events"]}
        for shop in (*shops, *larger)
    }
    for color, step in zip(SERIES, DRIVERS, strict=False):
        measured = [
            (shop, shop["steps"][step]["seconds"]) for shop in shops if step in shop["steps"]
        ]
        known = [point for point in measured if point[0]["days"] >= FULL_HISTORY_DAYS]
        short = [point for point in measured if point[0]["days"] < FULL_HISTORY_DAYS]
        beyond = [(shop, extrapolate(shops, step, shop)) for shop in larger]
        lines = ((known, "o-", color), (short, "x", color), ((known[-1], *beyond), "o--", "white"))
        for points, style, face in lines:
            ax.plot(
                [shop["users"] for shop, _ in points],
                [seconds for _, seconds in points],
                style,
                color=color,
                markerfacecolor=face,
                markevery=slice(style == "o--", None),
                label=step.replace("_", " ") if style == "o-" else None,
            )
        for shop, seconds in (*measured, *beyond):
            rows[shop["users"], shop["events"]][step] = round(seconds)
    log_scale(ax, "x", "y")
    ax.text(
        0.99,
        0.02,
        "hollow: extrapolated; crosses: 15 days of history",
        transform=ax.transAxes,
        ha="right",
        fontsize=8,
    )
    legend_outside(ax)
    figure.savefig(plot, dpi=110, bbox_inches="tight")
    columns = ("users", "events", *DRIVERS)
    print_table(
        [
            {name: f"{row.get(name, ''):,}" if name in row else "" for name in columns}
            for row in rows.values()
        ]
    )


if __name__ == "__main__":
    main()
