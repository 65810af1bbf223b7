"""Speed and peak memory of scoring a million customers for churn through the engine.

    python benchmarks/churn_scoring.py [--customers 1000000] [--workers 2]

The features are simulated, with distributions roughly like a grocer's. They are written as a
partition of `features.churn_features`, staged by the query of the declaration, and scored by the
engine with the average of LightGBM and logistic regression, the slowest model. Every step runs in
its own process, which reports its seconds and its peak memory. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import log, machine, print_json

DAY = dt.date(2024, 3, 31)
STEPS = ("make", "train", "stage", "score", "load")
BATCH_ROWS = 100_000
TRAINING_CUSTOMERS = 20_000


def main() -> None:
    """Runs all steps, each in its own process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shard-rows", type=int, default=16_384)
    parser.add_argument("--step", choices=STEPS)
    parser.add_argument("--home", type=Path)
    args = parser.parse_args()
    if args.step:
        print(json.dumps(run_step(args)))
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-churn-") as folder:
        result: dict[str, Any] = {"customers": args.customers, "workers": args.workers}
        for step in STEPS:
            options = ["--home", folder, "--step", step, "--customers", str(args.customers)]
            options += ["--workers", str(args.workers), "--shard-rows", str(args.shard_rows)]
            process = subprocess.run(
                [sys.executable, "-W", "ignore", __file__, *options],
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
            result[step] = json.loads(process.stdout.splitlines()[-1])
            log(step, result[step])
        seconds = result["score"]["seconds"]
        result["rows_per_second"] = round(args.customers / seconds)
        result["machine"] = machine()
        print_json(result)


def run_step(args: argparse.Namespace) -> dict[str, float]:
    """Runs one step in this process; returns its seconds and its peak memory in MiB."""
    os.environ["BATCH_PREDICTIONS_HOME"] = str(args.home)
    from batch_predictions.core.home import State, write_state
    from batch_predictions.settings import InferenceSettings, Settings

    write_state(
        args.home,
        State(
            source_kind="files",
            timezone="UTC",
            first_day=dt.date(2024, 1, 1),
            default_date=dt.date(2024, 1, 7),
        ),
    )
    settings = Settings(
        home=args.home, inference=InferenceSettings(workers=args.workers, device="cpu")
    )
    steps = {"make": make, "train": train, "stage": stage, "score": score, "load": load}
    started = time.perf_counter()
    steps[args.step](settings, args)
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def simulate_features(random: np.random.Generator, first: int, number: int) -> dict[str, Any]:
    """Columns of simulated customers with the numbers from `first` on."""
    gap = random.gamma(2, 6, number) + 1
    inactive = np.minimum(random.exponential(gap), 83).astype(np.int64)
    visits = np.maximum(1, random.poisson(84 / gap))
    recent = random.binomial(visits, 1 / 3)
    spend = random.gamma(2, 15, number) * visits
    return {
        "user_id": [f"u{n:08d}" for n in range(first, first + number)],
        "days_inactive": inactive,
        "tenure_days": random.integers(84, 365, number),
        "visits": visits * 4,
        "visits_7d": random.binomial(recent, 0.25),
        "visits_28d": recent,
        "visits_56d": np.minimum(visits, recent * 2),
        "visits_84d": visits,
        "weeks_84d": np.minimum(12, visits),
        "gap_median": gap,
        "gap_mean": gap * 1.1,
        "gap_sd": gap * 0.8,
        "gap_max": (gap * 3).astype(np.int64),
        "gap_recent": gap * random.uniform(0.5, 2, number),
        "overdue": inactive / gap,
        "longer_gap_share": random.uniform(0, 1, number),
        "spend_28d": spend / 3,
        "spend_56d": spend * 2 / 3,
        "spend_84d": spend,
        "spend_trend": random.normal(0, 0.5, number),
        "visit_trend": random.normal(0, 0.4, number),
        "events_28d": recent * 8,
        "events_84d": visits * 8,
        "items_84d": visits * 6,
        "categories_84d": np.minimum(30, visits),
        "discount_share": random.uniform(0, 1, number),
        "redemptions": random.poisson(0.3, number),
        "age_bracket": random.choice(["25-34", "45-54", "unknown"], number),
        "gender": random.choice(["f", "m", "unknown"], number),
    }


def make(settings: Any, args: argparse.Namespace) -> None:
    """Writes the partition of features, BATCH_ROWS rows at a time."""
    import pyarrow as pa

    from batch_predictions.tables import CHURN_FEATURES
    from batch_predictions.warehouse import Warehouse

    schema = pa.table(simulate_features(np.random.default_rng(0), 0, 1)).schema

    def batches() -> Iterator[pa.RecordBatch]:
        for first in range(0, args.customers, BATCH_ROWS):
            number = min(BATCH_ROWS, args.customers - first)
            columns = simulate_features(np.random.default_rng(first), first, number)
            yield pa.RecordBatch.from_pydict(columns, schema)

    reader = pa.RecordBatchReader.from_batches(schema, batches())
    Warehouse.of(settings).replace_partition(CHURN_FEATURES, str(DAY), reader)


def train(settings: Any, args: argparse.Namespace) -> None:
    """Trains the average on TRAINING_CUSTOMERS customers with a known hazard of churn."""
    import pyarrow as pa

    from batch_predictions.models.churn.churn_model import ChurnModel, EstimatorTrainer
    from batch_predictions.models.churn.data.churn_examples import Examples

    def simulate_examples(seed: int) -> Examples:
        random = np.random.default_rng(seed)
        rows = pa.table(simulate_features(random, 0, TRAINING_CUSTOMERS))
        hazard = 1 / (1 + np.exp(3 - 0.8 * rows["overdue"].to_numpy()))
        churned = random.random(TRAINING_CUSTOMERS) < hazard
        return Examples(rows, churned.astype(np.float64))

    fit_examples, calibration = simulate_examples(1), simulate_examples(2)
    estimator = EstimatorTrainer(fit_examples, 7).fit("average")
    model = ChurnModel.calibrate(estimator, calibration, "platt")
    folder = settings.home / "model"
    folder.mkdir()
    model.save(folder)


def stage(settings: Any, args: argparse.Namespace) -> None:
    """Writes the rows of the declaration's query as shards."""
    from batch_predictions.inference import staging
    from batch_predictions.inference.partition_staging import (
        ServingModel,
        engine_folder,
        staging_spec,
    )
    from batch_predictions.predictions.churn import churn_scores
    from batch_predictions.warehouse import Warehouse

    model = ServingModel("churn-benchmark", settings.home / "model")
    spec = replace(
        staging_spec(churn_scores, str(DAY), model, settings), shard_rows=args.shard_rows
    )
    path = staging.stage(Warehouse.of(settings), engine_folder(settings), spec)
    (settings.home / "manifest").write_text(str(path), encoding="utf-8")


def score(settings: Any, args: argparse.Namespace) -> None:
    """Scores the shards with the engine."""
    from batch_predictions.inference.pools import engine

    engine.score(Path((settings.home / "manifest").read_text("utf-8")), settings.inference)


def load(settings: Any, args: argparse.Namespace) -> None:
    """Validates the results and replaces the partition."""
    from batch_predictions.inference.partition_loading import load_partition
    from batch_predictions.inference.validation import validate
    from batch_predictions.predictions.churn import churn_scores
    from batch_predictions.warehouse import Warehouse

    path = Path((settings.home / "manifest").read_text("utf-8"))
    warehouse = Warehouse.of(settings)
    table, checks = churn_scores.table, churn_scores.checks
    result = validate(warehouse, table, path, checks, {"date": DAY})
    assert result.passed and result.scored == args.customers, result
    load_partition(warehouse, table, path)


if __name__ == "__main__":
    main()
