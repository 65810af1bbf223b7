"""A million customers scored for churn through the engine: rows a second and peak memory.

    python benchmarks/churn_scoring.py [--customers 1000000] [--workers 2]

The features are made up (their distributions are roughly a grocer's), written as a partition of
`features.churn_features`, staged by the declaration's own query and scored by the engine with the
average of trees and logistic regression, the dearest model there is. Every step runs in a process
of its own, which tells its seconds and its peak. Prints one JSON object.
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
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, say, show

DAY = dt.date(2024, 3, 31)
STEPS = ("make", "train", "stage", "score", "load")


def main() -> None:
    """All steps, each in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shard-rows", type=int, default=16_384)
    parser.add_argument("--step", choices=STEPS)
    parser.add_argument("--home", type=Path)
    args = parser.parse_args()
    if args.step:
        print(json.dumps(work(args)))
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-churn-") as folder:
        result: dict[str, Any] = {"customers": args.customers, "workers": args.workers}
        for step in STEPS:
            words = ["--home", folder, "--step", step, "--customers", str(args.customers)]
            words += ["--workers", str(args.workers), "--shard-rows", str(args.shard_rows)]
            done = subprocess.run(
                [sys.executable, "-W", "ignore", __file__, *words],
                stdout=subprocess.PIPE,
                check=True,
                text=True,
            )
            result[step] = json.loads(done.stdout.splitlines()[-1])
            say(step, result[step])
        seconds = result["score"]["seconds"]
        result["rows_per_second"] = round(args.customers / seconds)
        result["machine"] = machine()
        show(result)


def work(args: argparse.Namespace) -> dict[str, float]:
    """One step in this process."""
    os.environ["BATCH_PREDICTIONS_HOME"] = str(args.home)
    from batch_predictions.home import State, write_state
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
    began = time.perf_counter()
    {"make": make, "train": train, "stage": stage, "score": score, "load": load}[args.step](
        settings, args
    )
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def features(random: np.random.Generator, first: int, number: int) -> dict[str, Any]:
    """Columns of made-up customers."""
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
    """Writes the partition, a hundred thousand rows at a time."""
    import pyarrow as pa

    from batch_predictions.tables import CHURN_FEATURES
    from batch_predictions.warehouse import Warehouse

    step = 100_000
    schema = pa.table(features(np.random.default_rng(0), 0, 1)).schema

    def batches() -> Any:
        for first in range(0, args.customers, step):
            number = min(step, args.customers - first)
            yield pa.RecordBatch.from_pydict(
                features(np.random.default_rng(first), first, number), schema
            )

    reader = pa.RecordBatchReader.from_batches(schema, batches())
    Warehouse.of(settings).replace_partition(CHURN_FEATURES, str(DAY), reader)


def train(settings: Any, args: argparse.Namespace) -> None:
    """The average of both kinds on 20,000 customers who go by a known hazard."""
    import pyarrow as pa

    from batch_predictions.models.churn.selection import calibrated, fit
    from batch_predictions.models.churn.windows import Examples

    parts = []
    for seed in (1, 2):
        random = np.random.default_rng(seed)
        rows = pa.table(features(random, 0, 20_000))
        hazard = 1 / (1 + np.exp(3 - 0.8 * rows["overdue"].to_numpy()))
        parts.append(Examples(rows, (random.random(20_000) < hazard).astype(np.float64)))
    model = calibrated(fit(parts[0], 7)["average"], parts[1], "platt")
    folder = settings.home / "model"
    folder.mkdir()
    model.save(folder)


def stage(settings: Any, args: argparse.Namespace) -> None:
    """The declaration's own query, as shards."""
    from batch_predictions.inference import staging
    from batch_predictions.inference.scorer import name_of
    from batch_predictions.predictions.churn import churn_scores as declared
    from batch_predictions.warehouse import Warehouse

    path = staging.stage(
        Warehouse.of(settings),
        settings.home / "inference",
        table=declared.table,
        partition=str(DAY),
        rows=declared.rows,
        side={},
        key=declared.key,
        sql_parameters={"date": DAY},
        scorer=name_of(declared.scorer),
        scorer_version=declared.scorer.version,
        parameters={},
        model="churn",
        model_version="churn-benchmark",
        model_folder=settings.home / "model",
        shard_rows=args.shard_rows,
    )
    (settings.home / "manifest").write_text(str(path), encoding="utf-8")


def score(settings: Any, args: argparse.Namespace) -> None:
    """The engine."""
    from batch_predictions.inference.engine import score as through

    through(Path((settings.home / "manifest").read_text("utf-8")), settings.inference)


def load(settings: Any, args: argparse.Namespace) -> None:
    """Accounts for every key and replaces the partition."""
    from batch_predictions.inference import validation as loading
    from batch_predictions.predictions.churn import churn_scores as declared
    from batch_predictions.warehouse import Warehouse

    path = Path((settings.home / "manifest").read_text("utf-8"))
    warehouse = Warehouse.of(settings)
    judged = loading.validate(warehouse, declared.table, path, declared.checks, {"date": DAY})
    assert judged.passed and judged.scored == args.customers, judged
    loading.load(warehouse, declared.table, path)


if __name__ == "__main__":
    main()
