"""Two workers against one on a week of reviews, through the batch engine from stage to results.

    python benchmarks/sentiment_workers.py [--number 65536] [--net lstm] [--size 128]

Prints JSON. The whole of `review_sentiments` is timed: reading shards, languages, tokens, the model
(a net averaged with nb_lr, as in production), writing; starting the workers is in the time. Beside
it, what two processes that share nothing do against one: of pure Python, of a net's LSTM alone, and
of scoring one shard over and over. Results of one worker and of two are compared byte by byte.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from common import machine, say, show
from core_scaling import Step, lstm, python, twice
from sentiment_scoring import texts

from batch_predictions.inference import staging
from batch_predictions.inference.engine import score
from batch_predictions.inference.scorer import name_of
from batch_predictions.models.sentiment.data import of_rows
from batch_predictions.models.sentiment.models.base import ModelTraining
from batch_predictions.models.sentiment.models.cpu_features import native_bf16
from batch_predictions.models.sentiment.training import ClassifierTrainer
from batch_predictions.settings import InferenceSettings, Settings
from batch_predictions.tables import REVIEW_SENTIMENTS
from batch_predictions.warehouse import Warehouse

WEEK = "2024-01-01"


def model(folder: Path, net: str, size: int) -> None:
    """A small classifier of the usual kind, trained for a minute, in the folder."""
    said, labels = texts(3000, 1)
    options = {"epochs": 1.0, "width": float(size), "size": float(size), "rate": 3e-3}
    training = ModelTraining(3, 7, options=options, progress=say)
    folder.mkdir()
    ClassifierTrainer(of_rows(said, labels.tolist()), training).fit(f"average_{net}").save(folder)


def staged(home: Path, number: int) -> Path:
    """A week of reviews as shards, as `review_sentiments` declares them; the manifest's path."""
    # The declaration knows its partitions, and those are of a home that has begun: this one.
    os.environ["BATCH_PREDICTIONS_HOME"] = str(home)
    import batch_predictions.definitions  # noqa: F401
    from batch_predictions.predictions.sentiment import ReviewScorer, review_sentiments

    pool, _ = texts(16384, 3)
    chosen = np.random.default_rng(5).integers(0, len(pool), number)
    rows = home / "reviews.parquet"
    pq.write_table(
        pa.table(
            {
                "review_id": [f"r{n:08d}" for n in range(number)],
                "item_id": [f"i{n % 500}" for n in range(number)],
                # A text of its own for every review: nothing is remembered from another.
                "text": [f"{pool[each]} {n}" for n, each in enumerate(chosen.tolist())],
            }
        ),
        rows,
    )
    return staging.stage(
        Warehouse.of(Settings(home=home)),
        home / "inference",
        table=REVIEW_SENTIMENTS,
        partition=WEEK,
        rows=f"""select review_id, item_id, text, null::varchar as language, true as simulated,
            'en' as expected from read_parquet('{rows}')""",
        side={},
        key=review_sentiments.key,
        sql_parameters={},
        scorer=name_of(ReviewScorer),
        scorer_version=ReviewScorer.version,
        parameters={},
        model="sentiment",
        model_version="benchmark",
        model_folder=home / "model",
        shard_rows=review_sentiments.shard_rows,
    )


def scoring(home: str, shard: str) -> Step:
    """Scores one shard over and over, read once."""
    os.environ["BATCH_PREDICTIONS_HOME"] = home
    import batch_predictions.definitions  # noqa: F401
    from batch_predictions.inference.scorer import ScorerContext
    from batch_predictions.predictions.sentiment import ReviewScorer

    torch.set_num_threads(1)
    scorer = ReviewScorer.open(ScorerContext(model=Path(home) / "model"))
    [rows] = pq.read_table(shard).combine_chunks().to_batches()
    return lambda: scorer.score(rows).num_rows


def ceilings(home: Path, shard: Path, size: int) -> dict[str, float]:
    """How many times one process's work two do, by kind of work."""
    bf16 = native_bf16()
    return {
        "python": twice(python, ()),
        f"lstm_{'bf16' if bf16 else 'fp32'}": twice(lstm, (size, bf16)),
        "scoring": twice(scoring, (str(home), str(shard)), seconds=6.0),
    }


def _bytes_of(results: Path) -> str:
    """A hash of all results."""
    found = hashlib.sha256()
    for file in sorted(results.rglob("*.parquet")):
        found.update(file.name.encode() + file.read_bytes())
    return found.hexdigest()


def measure(number: int, net: str, size: int, repeats: int) -> dict[str, Any]:
    """Median seconds with one worker and with two, in turn, and how many times faster two are."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    hashes = set()
    with tempfile.TemporaryDirectory(prefix="benchmark-sentiment-") as name:
        home = Path(name)
        model(home / "model", net, size)
        manifest = staged(home, number)
        for _ in range(repeats):
            for workers, taken in seconds.items():
                shutil.rmtree(manifest.parent.parent / "results", ignore_errors=True)
                done = score(manifest, InferenceSettings(workers=workers, device="cpu"))
                assert done.scored == number and done.instances == workers
                taken.append(done.seconds)
                hashes.add(_bytes_of(manifest.parent.parent / "results"))
                say(f"{workers} workers: {done.seconds:.1f} s")
        assert len(hashes) == 1, "results differ between runs"
        shards = staging.StagingManifest.read(manifest).shards
        beside = ceilings(home, manifest.parent / shards[0].name, size)
    one, two = (statistics.median(each) for each in seconds.values())
    return {
        "net": f"average_{net} {size}",
        "reviews": number,
        "shards": len(shards),
        "one_seconds": round(one, 1),
        "two_seconds": round(two, 1),
        "one_reviews_per_second": round(number / one),
        "two_reviews_per_second": round(number / two),
        "two_over_one": round(one / two, 2),
        "two_processes_over_one": beside,
        "share_of_ceiling": round(one / two / beside["scoring"], 2),
        "all_seconds": {each: [round(s, 1) for s in taken] for each, taken in seconds.items()},
        **machine(),
    }


def main() -> None:
    """One net, one and two workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=65_536)
    parser.add_argument("--net", default="lstm", choices=("cnn", "lstm", "gru"))
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    # One worker is one thread, as each of two is.
    torch.set_num_threads(1)
    show(measure(given.number, given.net, given.size, given.repeats))


if __name__ == "__main__":
    main()
