"""Users a second of the recommendations' scorer, with the model that serves a home.

    python benchmarks/recommendation_scoring.py HOME [--date YYYY-MM-DD] [--users 1024]

Scores users of one staged day in this process, on one thread, with reasons by groups of features
(the default) and by single features (`recommendations.exact_reasons`), in turn. Both must give the
same lists; `equal_reasons` is the share of rows whose reason is the same. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import log, machine, print_json, time_interleaved

if TYPE_CHECKING:
    import pyarrow as pa

    from batch_predictions.inference.scorer import Scorer


def main() -> None:
    """Opens both scorers, compares their rows and times them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("--date", help="day to score; else: the newest that has predictions")
    parser.add_argument("--users", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    os.environ["BATCH_PREDICTIONS_HOME"] = str(args.home.resolve())
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    result: dict[str, Any] = {"machine": machine()}
    scorers, rows = open_scorers(args.date, args.users)
    log(f"{rows.num_rows:,} users")
    lists = {name: scorer.score(rows) for name, scorer in scorers.items()}
    times = time_interleaved(
        {name: partial(scorer.score, rows) for name, scorer in scorers.items()}, args.repeats
    )
    by_group, by_feature = (lists[name].to_pydict() for name in ("by_group", "by_feature"))
    columns = ("user_id", "rank", "item_id", "score")
    pairs = list(zip(by_group["reason"], by_feature["reason"], strict=True))
    result |= {
        "users": rows.num_rows,
        "users_per_second": {
            name: round(rows.num_rows / seconds["cpu_seconds"]) for name, seconds in times.items()
        },
        "times": times,
        "equal_lists": all(by_group[name] == by_feature[name] for name in columns),
        "equal_reasons": round(sum(a == b for a, b in pairs) / max(len(pairs), 1), 4),
    }
    print_json(result)


def open_scorers(date: str | None, users: int) -> tuple[dict[str, Scorer], pa.RecordBatch]:
    """The scorer with reasons of each kind, and rows of a staged day."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from batch_predictions.inference.partition_staging import stage_partition
    from batch_predictions.inference.shards import Worker
    from batch_predictions.model_store import ModelStore
    from batch_predictions.predictions.recommendations import recommendations
    from batch_predictions.settings import Settings
    from batch_predictions.warehouse import Warehouse

    settings = Settings.load()
    warehouse = Warehouse.of(settings)
    day = date or warehouse.partitions(recommendations.table)[-1]
    scorers: dict[str, Scorer] = {}
    for name, is_exact in (("by_group", False), ("by_feature", True)):
        changed = settings.recommendations.model_copy(update={"exact_reasons": is_exact})
        variant = settings.model_copy(update={"recommendations": changed})
        manifest = stage_partition(recommendations, day, warehouse, ModelStore.of(variant), variant)
        worker = Worker(manifest, "cpu", variant.inference.block_mb, single_threaded=True)
        scorers[name] = worker.open()
    shards = [pq.read_table(manifest.parent / shard.name) for shard in worker.manifest.shards]
    table = pa.concat_tables(shards).slice(0, users).combine_chunks()
    return scorers, table.to_batches()[0]


if __name__ == "__main__":
    main()
