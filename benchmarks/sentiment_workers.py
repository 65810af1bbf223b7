"""Two workers against one on a week of reviews, through the batch engine from staging to results.

    python benchmarks/sentiment_workers.py [--number 65536] [--net lstm] [--size 128]

Prints JSON. The measured time includes everything that `review_sentiments` does: starting workers,
reading shards, languages, tokens, the model (a net averaged with nb_lr, as in production), writing.
The upper bound is measured too: two independent processes against one, on pure Python, on a net's
LSTM alone, and on repeatedly scoring one shard. Results of one worker and of two must have the same
bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from common import log, machine, print_json
from core_scaling import Step, lstm, python, two_process_speedup
from sentiment_scoring import generate_texts

from batch_predictions.inference import staging
from batch_predictions.inference.partition_staging import ServingModel, engine_folder, staging_spec
from batch_predictions.inference.pools.engine import score
from batch_predictions.inference.results import StagingManifest
from batch_predictions.models.common.torch_cpu import has_native_bf16
from batch_predictions.models.sentiment.models.base import ModelTraining
from batch_predictions.models.sentiment.sentiment_training import ClassifierTrainer
from batch_predictions.models.sentiment.text.labelled_reviews import build_reviews
from batch_predictions.settings import InferenceSettings, Settings
from batch_predictions.warehouse import Warehouse

WEEK = "2024-01-01"


def train_classifier(folder: Path, net: str, size: int) -> None:
    """Trains an average of a net on a few texts and saves it in the folder."""
    texts, labels = generate_texts(3000, 1)
    options = {"epochs": 1.0, "width": float(size), "size": float(size), "rate": 3e-3}
    trainer = ClassifierTrainer(
        build_reviews(texts, labels.tolist()), ModelTraining(3, 7, options=options, progress=log)
    )
    folder.mkdir()
    trainer.fit(f"average_{net}").save(folder)


def stage_reviews(home: Path, number: int) -> Path:
    """Stages a week of reviews as `review_sentiments` does; returns the path of the manifest."""
    # Partitions are computed from the state of a home: here, of this new one.
    os.environ["BATCH_PREDICTIONS_HOME"] = str(home)
    import batch_predictions.definitions  # noqa: F401
    from batch_predictions.predictions.review_sentiments import review_sentiments

    pool, _ = generate_texts(16384, 3)
    sample = np.random.default_rng(5).integers(0, len(pool), number).tolist()
    rows = home / "reviews.parquet"
    pq.write_table(
        pa.table(
            {
                "review_id": [f"r{n:08d}" for n in range(number)],
                "item_id": [f"i{n % 500}" for n in range(number)],
                # All texts differ, so that nothing can be cached.
                "text": [f"{pool[index]} {n}" for n, index in enumerate(sample)],
            }
        ),
        rows,
    )
    settings = Settings(home=home)
    model = ServingModel("benchmark", home / "model")
    spec = replace(
        staging_spec(review_sentiments, WEEK, model, settings),
        rows=f"""select review_id, item_id, text, null::varchar as language, true as simulated,
            'en' as expected from read_parquet('{rows}')""",
        shard_rows=review_sentiments.shard_rows,
    )
    return staging.stage(Warehouse.of(settings), engine_folder(settings), spec)


def scoring(home: str, shard: str) -> Step:
    """Repeatedly scores one shard, which is read once."""
    os.environ["BATCH_PREDICTIONS_HOME"] = home
    import batch_predictions.definitions  # noqa: F401
    from batch_predictions.inference.scorer import ScorerContext
    from batch_predictions.predictions.review_sentiments import ReviewScorer

    torch.set_num_threads(1)
    scorer = ReviewScorer.open(ScorerContext(model=Path(home) / "model"))
    [rows] = pq.read_table(shard).combine_chunks().to_batches()
    return lambda: scorer.score(rows).num_rows


def measure_upper_bounds(home: Path, shard: Path, size: int) -> dict[str, float]:
    """Speed-up of two independent processes, by kind of work."""
    bf16 = has_native_bf16()
    return {
        "python": two_process_speedup(python, ()),
        f"lstm_{'bf16' if bf16 else 'fp32'}": two_process_speedup(lstm, (size, bf16)),
        "scoring": two_process_speedup(scoring, (str(home), str(shard)), seconds=6.0),
    }


def hash_results(folder: Path) -> str:
    """A hash of names and bytes of all results."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.parquet")):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def measure(number: int, net: str, size: int, repeats: int) -> dict[str, Any]:
    """Median seconds with one worker and with two, in turn, and the speed-up."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    hashes = set()
    with tempfile.TemporaryDirectory(prefix="benchmark-sentiment-") as folder:
        home = Path(folder)
        train_classifier(home / "model", net, size)
        manifest = stage_reviews(home, number)
        results = manifest.parent.parent / "results"
        for _ in range(repeats):
            for workers, worker_seconds in seconds.items():
                shutil.rmtree(results, ignore_errors=True)
                summary = score(manifest, InferenceSettings(workers=workers, device="cpu"))
                assert summary.scored_rows == number and summary.instances == workers
                worker_seconds.append(summary.seconds)
                hashes.add(hash_results(results))
                log(f"{workers} workers: {summary.seconds:.1f} s")
        assert len(hashes) == 1, "results differ between runs"
        shards = StagingManifest.read(manifest).shards
        upper_bounds = measure_upper_bounds(home, manifest.parent / shards[0].name, size)
    one_worker, two_workers = (statistics.median(values) for values in seconds.values())
    speedup = one_worker / two_workers
    return {
        "net": f"average_{net} {size}",
        "reviews": number,
        "shards": len(shards),
        "one_seconds": round(one_worker, 1),
        "two_seconds": round(two_workers, 1),
        "one_reviews_per_second": round(number / one_worker),
        "two_reviews_per_second": round(number / two_workers),
        "two_over_one": round(speedup, 2),
        "two_processes_over_one": upper_bounds,
        "share_of_ceiling": round(speedup / upper_bounds["scoring"], 2),
        "all_seconds": {
            workers: [round(value, 1) for value in values] for workers, values in seconds.items()
        },
        **machine(),
    }


def main() -> None:
    """Measures one net with one worker and with two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=65_536)
    parser.add_argument("--net", default="lstm", choices=("cnn", "lstm", "gru"))
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    # A worker is a thread; torch must not use further ones.
    torch.set_num_threads(1)
    print_json(measure(arguments.number, arguments.net, arguments.size, arguments.repeats))


if __name__ == "__main__":
    main()
