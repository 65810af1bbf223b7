"""Users a second of the recommendations' scorer, with the model that serves a home.

    python benchmarks/recommendation_scoring.py HOME [--date YYYY-MM-DD] [--users 1024]
        [--candidates 60 30]

Scores users of one staged day in this process, on one thread. Beside it, what one would run
instead: LightGBM's own `predict` of the ranker over the same candidates' features, and `recommend`
of the library `implicit` with the same item factors; and, of a model with a network, the states of
the users, made anew and advanced from those of the day before. Then the engine's pools score the
shards of the day: one instance, two in threads, two in processes, which have started and opened the
model before. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import log, machine, print_json, time_interleaved, time_ratio

if TYPE_CHECKING:
    import pyarrow as pa

    from batch_predictions.inference.pools.base import WorkerPool
    from batch_predictions.inference.scorer import Scorer


def main() -> None:
    """Opens the scorer and times it beside the alternatives."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("--date", help="day to score; else: the newest that has predictions")
    parser.add_argument("--users", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--candidates", type=int, nargs="*", default=[], help="of each generator, timed as well"
    )
    args = parser.parse_args()
    os.environ["BATCH_PREDICTIONS_HOME"] = str(args.home.resolve())
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    result: dict[str, Any] = {"machine": machine()}
    scorer, rows, manifest_path = open_scorer(args.date, args.users)
    log(f"{rows.num_rows:,} users")
    functions = {"scorer": partial(scorer.score, rows)} | alternatives(scorer, rows)
    for number in args.candidates:
        functions[f"scorer, {number} candidates"] = partial(score_with, scorer, rows, number)
    times = time_interleaved(functions, args.repeats)
    result |= {
        "users": rows.num_rows,
        "users_per_second": {
            name: round(rows.num_rows / seconds["cpu_seconds"]) for name, seconds in times.items()
        },
        "times": times,
    }
    result["instances"] = time_instances(manifest_path, args.repeats)
    print_json(result)


def score_with(scorer: Any, rows: pa.RecordBatch, candidates: int) -> None:
    """Scores with another number of candidates than the model was trained with."""
    params = scorer.model.params
    scorer.model.params = replace(params, candidates_per_generator=candidates)
    try:
        scorer.score(rows)
    finally:
        scorer.model.params = params


def alternatives(scorer: Any, rows: pa.RecordBatch) -> dict[str, Callable[[], Any]]:
    """What one would run instead of the scorer, as far as the model has it."""
    import lightgbm
    import numpy as np

    from batch_predictions.models.recommender.data.staged_histories import read_histories
    from batch_predictions.models.recommender.features.table import build_feature_table

    model = scorer.model
    histories = read_histories(rows, scorer.lookup)
    functions: dict[str, Callable[[], Any]] = {}
    if model.user_states(histories) is not None:
        anew = replace(histories, states=None)
        functions["states_anew"] = lambda: model.user_states(anew)
        functions["states_advanced"] = lambda: model.user_states(histories)
    if model.kind == "two_stage" and model.ranker.trees is not None:
        tables = []
        for start in range(0, histories.users, 256):
            candidates = model.ensemble.propose(
                histories.slice_users(start, start + 256),
                scorer.item_features,
                model.params.candidates_per_generator,
                scorer.exclude_seen,
                scorer.blocked,
            )
            tables.append(build_feature_table(candidates, model.params.columns)[0])
        features = np.ascontiguousarray(np.concatenate(tables))
        boosters = [lightgbm.Booster(model_str=text) for text in model.ranker.trees.models]
        functions["lightgbm_predict"] = lambda: [
            booster.predict(features, raw_score=True, num_threads=1) for booster in boosters
        ]
    generators = model.ensemble.generators if model.kind == "two_stage" else ()
    als = next((generator for generator in generators if generator.model.kind == "als"), None)
    if als is not None:
        functions["implicit_recommend"] = _implicit_recommend(als, histories, scorer.k)
    return functions


def _implicit_recommend(als: Any, histories: Any, k: int) -> Callable[[], Any]:
    """`recommend` of implicit's model with the factors of a fitted generator."""
    import numpy as np
    from implicit.cpu.als import AlternatingLeastSquares

    params = als.model.params
    model = AlternatingLeastSquares(
        factors=params.factors,
        regularization=params.regularization,
        alpha=1.0,
        num_threads=1,
    )
    model.item_factors = np.array(als.model.targets())
    matrix = als.subset.reindex_histories(histories).matrix(params.history_half_life_days)
    matrix.data = 1.0 + params.alpha * np.log1p(matrix.data)
    users = np.arange(matrix.shape[0])
    return lambda: model.recommend(
        users, matrix, N=k, recalculate_user=True, filter_already_liked_items=False
    )


def time_instances(manifest_path: Path, repeats: int) -> dict[str, Any]:
    """Users a second of wall time by one instance, by two threads and by two processes."""
    from batch_predictions.inference.pools.processes import ProcessPool
    from batch_predictions.inference.pools.threads import ThreadPool
    from batch_predictions.inference.results import StagingManifest, result_path

    manifest = StagingManifest.read(manifest_path)
    shards = [shard.name for shard in manifest.shards]
    result_path(manifest_path, manifest.shards[0]).parent.mkdir(exist_ok=True)
    with ExitStack() as stack:
        pools: dict[str, WorkerPool] = {
            "one": stack.enter_context(ThreadPool(manifest_path, ["cpu"], 256)),
            "two_threads": stack.enter_context(ThreadPool(manifest_path, ["cpu"] * 2, 256)),
            "two_processes": stack.enter_context(ProcessPool(manifest_path, ["cpu"] * 2, 256)),
        }
        for pool in pools.values():
            score_shards(pool, shards)
        functions = {name: partial(score_shards, pool, shards) for name, pool in pools.items()}
        times = time_interleaved(functions, repeats)
    return {
        "users_per_second": {
            name: round(manifest.rows / seconds["wall_seconds"]) for name, seconds in times.items()
        },
        "one_over_two_threads": time_ratio(times, "one", "two_threads")["wall"],
        "one_over_two_processes": time_ratio(times, "one", "two_processes")["wall"],
    }


def score_shards(pool: WorkerPool, shards: Sequence[str]) -> None:
    """Scores shards as the engine does."""
    waiting, in_flight = deque(shards), 0
    while waiting or in_flight:
        while waiting and in_flight < pool.max_in_flight:
            pool.submit(waiting.popleft())
            in_flight += 1
        outcomes = pool.wait()
        in_flight -= len(outcomes)
        assert not any(outcome.problem for outcome in outcomes), outcomes


def open_scorer(date: str | None, users: int) -> tuple[Scorer, pa.RecordBatch, Path]:
    """The scorer, and rows of a staged day with its manifest."""
    import pyarrow as pa

    from batch_predictions.inference.partition_staging import stage_partition
    from batch_predictions.inference.shards import Worker, read_shard
    from batch_predictions.models.model_store import ModelStore
    from batch_predictions.predictions.recommendations import recommendations
    from batch_predictions.settings import Settings
    from batch_predictions.warehouse import Warehouse

    settings = Settings.load()
    warehouse = Warehouse.of(settings)
    day = date or warehouse.partitions(recommendations.table)[-1]
    manifest = stage_partition(recommendations, day, warehouse, ModelStore.of(settings), settings)
    worker = Worker(manifest, "cpu", settings.inference.block_mb, single_threaded=True)
    scorer = worker.open()
    paths = [manifest.parent / shard.name for shard in worker.manifest.shards]
    batches = [read_shard(scorer, path) for path in paths]
    table = pa.Table.from_batches(batches).unify_dictionaries().slice(0, users).combine_chunks()
    return scorer, table.to_batches()[0], manifest


if __name__ == "__main__":
    main()
