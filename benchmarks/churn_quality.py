"""Quality of churn probabilities on the Complete Journey, of every estimator on equal customers.

    python benchmarks/churn_quality.py [--cuts 2017-10-08 2017-11-05 2017-12-03] [--active-days 84]

For every cut-off the estimators are fitted and calibrated on earlier cut-offs, as in the weekly
training, and predict the customers who are active on it. All cut-offs are evaluated together;
bootstrap samples draw customers with all their cut-offs. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from common import log, machine, print_json

CUTS = ("2017-10-08", "2017-11-05", "2017-12-03")


def main() -> None:
    """Reads the year, trains before every cut-off and evaluates."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cuts", nargs="+", type=dt.date.fromisoformat, default=None)
    parser.add_argument("--active-days", type=int, default=84)
    parser.add_argument("--calibration", choices=["platt", "isotonic"], default="platt")
    parser.add_argument("--home", type=Path, help="a home to keep; default: a temporary one")
    args = parser.parse_args()
    args.cuts = args.cuts or [dt.date.fromisoformat(cut) for cut in CUTS]
    with tempfile.TemporaryDirectory() as folder:
        print_json(measure(args, args.home or Path(folder)))


def measure(args: argparse.Namespace, home: Path) -> dict[str, object]:
    """Metrics of every estimator over all cut-offs."""
    from complete_journey_home import open_home

    from batch_predictions.settings import ChurnSettings

    churn = ChurnSettings(active_days=args.active_days, calibration=args.calibration)
    settings, warehouse = open_home(home, churn=churn)

    from batch_predictions.models.churn.base import baseline_names, candidate_names
    from batch_predictions.models.churn.churn_metrics import AUC, LOG_LOSS, PairedComparison
    from batch_predictions.models.churn.data.churn_examples import Examples, examples_as_of

    read_examples = cache(lambda day: examples_as_of(warehouse, settings, day))
    started = time.process_time()
    predictions = [predict(cut, read_examples, churn) for cut in args.cuts]
    seconds = time.process_time() - started
    test = Examples.concat([read_examples(cut) for cut in args.cuts])
    comparison = PairedComparison(test.churned, test.customer_codes(), churn.seed)
    metrics = {}
    for name in predictions[0]:
        probabilities = np.concatenate([by_name[name] for by_name in predictions])
        intervals = comparison.evaluate(name, probabilities)
        metrics[name] = {metric: _rounded(interval) for metric, interval in intervals.items()}
    pairs = [(name, baseline) for name in candidate_names() for baseline in baseline_names()]

    def gains(metric: str) -> dict[str, object]:
        """Paired differences; those of the log loss with the sign that makes better positive."""
        return {
            f"{name} - {baseline}": _rounded(
                comparison.difference(baseline, name, metric)
                if metric == LOG_LOSS
                else comparison.difference(name, baseline, metric)
            )
            for name, baseline in pairs
        }

    return {
        "cuts": [str(cut) for cut in args.cuts],
        "active_days": churn.active_days,
        "calibration": churn.calibration,
        "n": comparison.n,
        "churned": round(float(test.churned.mean()), 4),
        "models": metrics,
        "log_loss_gains": gains(LOG_LOSS),
        "auc_gains": gains(AUC),
        "cpu_seconds": round(seconds, 1),
        "machine": machine(),
    }


def predict(
    cut: dt.date, read_examples: Callable[[dt.date], Any], churn: Any
) -> dict[str, np.ndarray]:
    """Probabilities of the customers on a cut-off, by estimators fitted on earlier ones.

    Args:
        cut: the cut-off.
        read_examples: reads the customers of a past day with their outcomes.
        churn: the section churn of the settings.
    """
    from complete_journey_home import FIRST

    from batch_predictions.models.churn.base import estimator_specs
    from batch_predictions.models.churn.churn_model import ChurnModel, EstimatorTrainer
    from batch_predictions.models.churn.churn_selection import training_windows
    from batch_predictions.models.churn.data.churn_examples import Examples

    through = cut + dt.timedelta(days=churn.horizon_days)
    windows = training_windows(churn, FIRST, through, with_test=True)
    assert windows is not None, f"{cut} is too early in the year"
    fit_examples = Examples.concat([read_examples(day) for day in windows.fit_days])
    log(f"{cut}: fitting on {len(fit_examples):,} rows of {len(windows.fit_days)} days")
    trainer = EstimatorTrainer(fit_examples, churn.seed)
    calibration, rows = read_examples(windows.calibration_day), read_examples(cut).rows
    probabilities = {}
    for name in estimator_specs():
        model = ChurnModel.calibrate(trainer.fit(name), calibration, churn.calibration)
        probabilities[name] = model.probabilities(rows)
    return probabilities


def _rounded(interval: Any) -> dict[str, float]:
    return {
        "value": round(interval.mean, 4),
        "lower": round(interval.lower, 4),
        "upper": round(interval.upper, 4),
    }


if __name__ == "__main__":
    main()
