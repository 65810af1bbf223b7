"""How good churn probabilities are on the Complete Journey: every candidate on the same customers.

    python benchmarks/churn_quality.py [--cuts 2017-10-08 2017-11-05 2017-12-03] [--active-days 84]

For every cut the models learn and calibrate on windows before it, as the weekly training does, and
are asked about the customers active on it; the cuts' answers are judged together. Intervals
resample customers, each with all their cuts. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, say, show

CUTS = ("2017-10-08", "2017-11-05", "2017-12-03")


def main() -> None:
    """Reads the year, trains before every cut, judges."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cuts", nargs="+", type=dt.date.fromisoformat, default=None)
    parser.add_argument("--active-days", type=int, default=84)
    parser.add_argument("--calibration", choices=["platt", "isotonic"], default="platt")
    parser.add_argument("--home", type=Path, help="a home to keep; default: a temporary one")
    args = parser.parse_args()
    args.cuts = args.cuts or [dt.date.fromisoformat(cut) for cut in CUTS]
    with tempfile.TemporaryDirectory() as folder:
        show(measure(args, args.home or Path(folder)))


def measure(args: argparse.Namespace, home: Path) -> dict[str, object]:
    """Every candidate over all cuts."""
    from complete_journey_home import FIRST, open_home

    from batch_predictions.settings import ChurnSettings

    chosen = ChurnSettings(active_days=args.active_days, calibration=args.calibration)
    settings, warehouse = open_home(home, churn=chosen)

    from batch_predictions.models.churn.assets import examples_as_of
    from batch_predictions.models.churn.metrics import PairedComparison
    from batch_predictions.models.churn.selection import BASELINES, calibrated, codes, fit
    from batch_predictions.models.churn.windows import Examples, windows

    held: dict[dt.date, Examples] = {}
    judged: list[Examples] = []
    answers: dict[str, list[Any]] = {}
    seconds = 0.0
    for cut in args.cuts:
        through = cut + dt.timedelta(days=chosen.horizon_days)
        plan = windows(
            through,
            FIRST,
            chosen.horizon_days,
            judged=True,
            step=chosen.step_days,
            most=chosen.cutoffs,
        )
        assert plan is not None, f"{cut} lies too early in the year"
        began = time.process_time()
        for day in plan.days:
            if day not in held:
                held[day] = examples_as_of(warehouse, settings, day)
        learned = Examples.joined([held[day] for day in plan.fit])
        for name, margin in fit(learned, chosen.seed).items():
            model = calibrated(margin, held[plan.calibrate], chosen.calibration)
            answers.setdefault(name, []).append(model.probabilities(held[cut].rows))
        judged.append(held[cut])
        seconds += time.process_time() - began
        say(f"{cut}: learned from {len(learned.churned):,} rows of {len(plan.fit)} days")
    everyone = Examples.joined(judged)
    contest = PairedComparison(everyone.churned, codes(everyone), chosen.seed)
    found = {}
    for name, parts in answers.items():
        intervals = contest.evaluate(name, np.concatenate(parts))
        found[name] = {metric: _figures(each) for metric, each in intervals.items()}
    gains = {
        f"{name} - {floor}": _figures(contest.gain(name, floor))
        for name in answers
        if name not in BASELINES
        for floor in BASELINES
    }
    return {
        "cuts": [str(cut) for cut in args.cuts],
        "active_days": chosen.active_days,
        "calibration": chosen.calibration,
        "n": contest.n,
        "churned": round(float(everyone.churned.mean()), 4),
        "models": found,
        "auc_gains": gains,
        "cpu_seconds": round(seconds, 1),
        "machine": machine(),
    }


def _figures(interval: Any) -> dict[str, float]:
    mean, lower, upper, _ = interval
    return {"value": round(mean, 4), "lower": round(lower, 4), "upper": round(upper, 4)}


if __name__ == "__main__":
    main()
