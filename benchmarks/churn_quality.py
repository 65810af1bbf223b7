"""Quality of churn probabilities on the Complete Journey, of every candidate on equal customers.

    python benchmarks/churn_quality.py [--cuts 2017-10-08 2017-11-05 2017-12-03] [--active-days 84]

For every cut-off the candidates are fitted and calibrated on earlier days, as in the weekly
training, and predict the customers who are active on it. All cut-offs are evaluated together;
bootstrap samples draw customers with all their cut-offs. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import log, machine, print_json

CUTS = ("2017-10-08", "2017-11-05", "2017-12-03")
SEED = 7


def main() -> None:
    """Reads the year, trains before every cut-off and evaluates."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cuts", nargs="+", type=dt.date.fromisoformat, default=None)
    parser.add_argument("--active-days", type=int, default=84)
    parser.add_argument("--home", type=Path, help="a home to keep; default: a temporary one")
    args = parser.parse_args()
    args.cuts = args.cuts or [dt.date.fromisoformat(cut) for cut in CUTS]
    with tempfile.TemporaryDirectory() as folder:
        print_json(measure(args, args.home or Path(folder)))


def measure(args: argparse.Namespace, home: Path) -> dict[str, object]:
    """Metrics of every candidate over all cut-offs."""
    from complete_journey_home import FIRST, open_home

    from batch_predictions.features.history.churn_history import churn_history, churn_query
    from batch_predictions.models.common.probability_metrics import LOG_LOSS, PairedComparison
    from batch_predictions.models.queries.candidate_trainer import CandidateTrainer
    from batch_predictions.models.queries.query_examples import (
        QueryExamples,
        query_windows,
        read_examples,
    )
    from batch_predictions.settings import ChurnSettings
    from batch_predictions.sources import source_registry

    settings, warehouse = open_home(home, churn=ChurnSettings(active_days=args.active_days))
    types = source_registry.event_types(settings)
    query = churn_query(settings.churn, types)
    history = churn_history(query, types)
    trainer = CandidateTrainer(
        query, history, lambda day: read_examples(warehouse, query, history, day), SEED, log
    )
    started, predictions = time.process_time(), []
    for cut in args.cuts:
        windows = query_windows(query, FIRST, cut + dt.timedelta(days=query.days), with_test=True)
        assert windows is not None and windows.test_day == cut, f"{cut} is too early in the year"
        models, _ = trainer.fit_all(windows)
        rows = trainer.examples(cut).rows
        predictions.append({name: m.predict(rows)["probability"] for name, m in models.items()})
    seconds = time.process_time() - started
    test = QueryExamples.concat([trainer.examples(cut) for cut in args.cuts])
    customers = test.rows["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    comparison = PairedComparison(test.target, customers.astype(np.int64), SEED)
    metrics = {}
    for name in predictions[0]:
        probabilities = np.concatenate([by_name[name] for by_name in predictions])
        intervals = comparison.evaluate(name, probabilities)
        metrics[name] = {metric: _rounded(interval) for metric, interval in intervals.items()}
    baselines = [c.name for c in trainer.candidates if c.is_baseline]
    gains = {
        f"{name} - {baseline}": _rounded(comparison.difference(baseline, name, LOG_LOSS))
        for name in metrics
        for baseline in baselines
        if name not in baselines
    }
    return {
        "cuts": [str(cut) for cut in args.cuts],
        "active_days": args.active_days,
        "n": comparison.n,
        "churned": round(float(test.target.mean()), 4),
        "models": metrics,
        "log_loss_gains": gains,
        "cpu_seconds": round(seconds, 1),
        "machine": machine(),
    }


def _rounded(interval: Any) -> dict[str, float]:
    return {
        "value": round(interval.mean, 4),
        "lower": round(interval.lower, 4),
        "upper": round(interval.upper, 4),
    }


if __name__ == "__main__":
    main()
