"""Weighted events against purchases alone and against all events alike, on a click stream.

    python benchmarks/generate_click_stream.py FOLDER
    python benchmarks/event_weights.py FOLDER [--days 7]

The same training (generators, ranker, gate) runs three times over the same events, which only
`source.events` weighs differently. All three are evaluated on the purchases of the last days:
NDCG@10 over the same users, with 95 % intervals, and the paired difference of the weighted events
to each of the others. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from batch_predictions.models.common.intervals import bootstrap_interval, paired_difference
from batch_predictions.models.common.ranking_metrics import NDCG
from batch_predictions.settings import RecommendationsSettings, Settings, SourceSettings

EVENTS: dict[str, dict[str, Any]] = {
    "weighted": {"cart": 0.5, "view": 0.1},
    "purchases_alone": {"cart": 0.0, "view": 0.0},
    "all_alike": {"cart": 1.0, "view": 1.0},
}
VALUES = {"purchase": ["purchase"], "cart": ["add_to_cart"], "view": ["page_view"]}
COLUMNS = {"user_id": "user", "item_id": "product", "event_type": "event_name", "occurred_at": "ts"}


def main() -> None:
    """Prints the figures of one click stream."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--days", type=int, default=7, help="days that are held out")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    evaluations = {}
    for name, weights in EVENTS.items():
        with tempfile.TemporaryDirectory() as home:
            evaluations[name] = measure(args, weights, Path(home))
        print(f"{name}: {evaluations[name]['why']}", file=sys.stderr, flush=True)
    users = evaluations["weighted"]["ndcg"]
    per_user = {}
    for name, evaluation in evaluations.items():
        by_user = evaluation.pop("ndcg")
        # A user without a row that the model read gets no list: 0.
        per_user[name] = np.array([by_user.get(user, 0.0) for user in users])
    for name, ndcg in per_user.items():
        evaluations[name]["NDCG@10"] = bootstrap_interval(ndcg, args.seed)._asdict()
    gains = {
        name: paired_difference(per_user["weighted"], ndcg, args.seed)._asdict()
        for name, ndcg in per_user.items()
        if name != "weighted"
    }
    print(json.dumps({"events": evaluations, "gain_of_weighted_over": gains}, indent=1))


def measure(args: argparse.Namespace, weights: dict[str, float], home: Path) -> dict[str, Any]:
    """Selects a model with some weights; its metrics on the purchases that were held out."""
    from batch_predictions.models.recommender.data.interactions import Interactions
    from batch_predictions.models.recommender.data.splits import hold_out
    from batch_predictions.models.recommender.recommender_inputs import (
        WarehouseSideInformation,
        read_interactions,
        training_days,
        two_stage_config,
    )
    from batch_predictions.models.recommender.recommender_selection import select
    from batch_predictions.models.recommender.training.trainer import RankerTrainer
    from batch_predictions.sources.home_state import initialise_home
    from batch_predictions.sources.ingest import ingest
    from batch_predictions.sources.source_registry import build_source
    from batch_predictions.tables import INTERACTIONS, ITEMS
    from batch_predictions.tables.partitions import days_between
    from batch_predictions.warehouse import Warehouse

    start = time.perf_counter()
    settings = Settings(home=home, source=source_settings(args.folder, weights))
    settings.recommendations = RecommendationsSettings(exclude_seen=["purchase"])
    settings.recommender.holdout_days = args.days
    state = initialise_home(settings)
    source = build_source(settings.source, state)
    span = source.day_range(INTERACTIONS)
    assert span is not None, "the events have no readable day"
    warehouse = Warehouse.of(settings)
    days = days_between(*span)
    ingest(warehouse, source, INTERACTIONS, days, state)
    ingest(warehouse, source, ITEMS, [days[-1]], state)
    rows = read_interactions(warehouse, settings, span[1], training_days(settings))
    side_information = WarehouseSideInformation(warehouse, settings)
    trainer = RankerTrainer(two_stage_config(settings), side_information)
    interactions = Interactions.from_table(rows.table)
    holdout = hold_out(
        interactions,
        through=span[1],
        holdout_days=args.days,
        exclude_seen=True,
        seed=args.seed,
    )
    selection = select(interactions, span[1], trainer, holdout=holdout)
    evaluation = selection.evaluations[selection.candidate]
    users = holdout.train.user_ids.take(pa.array(holdout.users)).to_pylist()
    return {
        "serves": selection.candidate,
        "why": selection.why,
        "users": evaluation.n,
        "rows": rows.table.num_rows,
        "ndcg": dict(zip(users, evaluation.per_user[NDCG], strict=True)),
        "seconds": round(time.perf_counter() - start, 1),
    }


def source_settings(folder: Path, weights: dict[str, float]) -> SourceSettings:
    """A source of the events, whose types have some weights."""
    events = {
        name: {"is": values, "weight": weights.get(name, 1.0)} for name, values in VALUES.items()
    }
    return SourceSettings.model_validate(
        {
            "kind": "files",
            "path": folder,
            "files": {"interactions": "events/dt=*/*.parquet"},
            "columns": {"interactions": COLUMNS},
            "events": events,
        }
    )


if __name__ == "__main__":
    main()
