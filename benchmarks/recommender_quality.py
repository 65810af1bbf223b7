"""Metrics of the two-stage recommender and every simpler one on days that none of them has seen.

    python benchmarks/recommender_quality.py movielens FOLDER
    python benchmarks/recommender_quality.py movielens FOLDER --cut 1998-03-30
    python benchmarks/recommender_quality.py movielens FOLDER --split user
    python benchmarks/recommender_quality.py movielens FOLDER --split last
    python benchmarks/recommender_quality.py complete_journey --cut 2017-11-17 --days 7
    python benchmarks/recommender_quality.py complete_journey --cut 2017-12-01 --days 28 --new-items
    python benchmarks/recommender_quality.py files FOLDER --split one --served
    python benchmarks/recommender_quality.py files FOLDER --split user
    python benchmarks/recommender_quality.py files FOLDER --split user --served
    python benchmarks/recommender_quality.py files FOLDER --split user --served --max-users 8000

One cut in time: models are trained on the rows before it, and users known before and active after
it are evaluated. The cut is at the end of the day `--cut`, or else before the newest tenth of all
rows, by time of day too. `--split user` hides a fifth of each user's items instead
(`--hidden-share`), for data without times; `--split last` each user's newest tenth, `--split one`
its newest item, by time of day too: no forecast, since what other users did later is known. The
promotions of the weeks after the cut are known, four weeks at most (`--planned-weeks`: fewer).
Parameters are chosen before the cut as a training does it; with `--minutes 0` they are the declared
ones. With `--served` the platform trains on the rows before the cut as it does every week, with a
hold-out of its own, and what it would serve is evaluated, beside every generator with its chosen
parameters. With `--max-users` it is trained on the rows of so many users, chosen as
`recommender.max_users` does, and evaluated on all. Prints one JSON object; progress goes to the
standard error.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from batch_predictions.settings import (
    RecommendationsSettings,
    RecommenderSettings,
    Settings,
    SourceSettings,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from batch_predictions.core.home import State
    from batch_predictions.models.common.intervals import Row
    from batch_predictions.models.recommender.data.interactions import Interactions
    from batch_predictions.models.recommender.data.splits import Holdout
    from batch_predictions.models.recommender.recommender_selection import Selection
    from batch_predictions.models.recommender.training.trainer import RankerTrainer
    from batch_predictions.sources.base import Source


def main() -> None:
    """Reads the source into a temporary home, trains, evaluates."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", choices=["movielens", "complete_journey", "files"])
    parser.add_argument("path", type=Path, nargs="?")
    parser.add_argument("--cut", type=dt.date.fromisoformat, help="last training day")
    parser.add_argument(
        "--last-share", type=float, default=0.1, help="without --cut: share of the rows after it"
    )
    parser.add_argument("--days", type=int, help="evaluate only this many days after `--cut`")
    parser.add_argument("--split", choices=["time", "user", "last", "one"], default="time")
    parser.add_argument(
        "--hidden-share", type=float, default=0.2, help="--split user: share of each user's items"
    )
    parser.add_argument("--new-items", action="store_true", help="leave out items that users had")
    parser.add_argument("--no-promotions", action="store_true", help="hide the calendar")
    parser.add_argument(
        "--planned-weeks",
        type=int,
        choices=range(1, 5),
        help="weeks of the calendar that are known; else: those of --days",
    )
    parser.add_argument(
        "--lesson-users", type=int, help="users the ranker learns from; else: by the data"
    )
    parser.add_argument(
        "--minutes", type=float, help="budget of the parameter search, 0: none; else: by the data"
    )
    parser.add_argument(
        "--sequence-minutes", type=float, help="of each fit of `sequence`, 0: none; else: by rows"
    )
    parser.add_argument(
        "--candidates-each", type=int, default=60, help="of each generator for a user"
    )
    parser.add_argument(
        "--served", action="store_true", help="evaluate what a training on the rest would serve"
    )
    parser.add_argument("--max-users", type=int, help="--served: users that it is trained on")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    if args.max_users and not args.served:
        parser.error("--max-users leaves users out of a training: give --served as well")
    if args.days and not args.cut:
        parser.error("--days counts from --cut: give --cut as well")
    with tempfile.TemporaryDirectory() as home:
        result = measure(args, Path(home))
    print(json.dumps(result, indent=1))


def measure(args: argparse.Namespace, home: Path) -> dict[str, object]:
    """The metrics of all models on one source and split."""
    import os

    os.environ["BATCH_PREDICTIONS_HOME"] = str(home)
    weeks = args.planned_weeks or min(4, max(1, -(-(args.days or 7) // 7)))
    settings = Settings(
        home=home,
        source=SourceSettings(kind=args.source, path=args.path, original_dates=True),
        recommendations=RecommendationsSettings(exclude_seen=True if args.new_items else None),
        recommender=RecommenderSettings(
            planned_weeks=weeks,
            lesson_users=args.lesson_users,
            sequence_minutes=args.sequence_minutes,
            candidates_each=args.candidates_each,
            seed=args.seed,
        ),
    )
    start = time.perf_counter()

    def report(text: str) -> None:
        print(f"{time.perf_counter() - start:7.1f} s  {text}", file=sys.stderr, flush=True)

    selection, holdout, trainer, end = select_model(args, settings, weeks, report)
    training_seconds = round(time.perf_counter() - start, 1)
    rows = evaluate_served(selection, holdout, trainer) if args.served else selection.metrics
    models: dict[str, dict[str, object]] = {}
    for row in rows:
        figures = {name: row[name] for name in ("value", "lower", "upper")}
        models.setdefault(str(row["candidate"]), {})[str(row["metric"])] = figures
    config = trainer.config
    return {
        "source": args.source,
        "split": selection.split,
        "cut": str(holdout.as_of),
        "until": str(end),
        "users": len(holdout.users),
        "seen_left_out": holdout.masks_seen,
        "planned_weeks": weeks,
        "why": selection.why,
        "models": models,
        "parameters": {name: dict(values) for name, values in config.generator_params.items()},
        "ranker": {
            **config.ranker_params,
            "objectives": config.objectives,
            "linear_weight": config.linear_weight,
        },
        "training_seconds": training_seconds,
        "seconds": round(time.perf_counter() - start, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def select_model(
    args: argparse.Namespace, settings: Settings, weeks: int, progress: Callable[[str], None]
) -> tuple[Selection, Holdout, RankerTrainer, dt.date]:
    """Ingests the source and selects a model; also the last day of the evaluation."""
    from batch_predictions.models.recommender.data.interactions import Interactions
    from batch_predictions.models.recommender.recommender_inputs import (
        WarehouseSideInformation,
        read_interactions,
        training_days,
        two_stage_config,
    )
    from batch_predictions.models.recommender.recommender_selection import select
    from batch_predictions.models.recommender.training.caching_trainer import CachingTrainer
    from batch_predictions.models.recommender.training.parameter_search import search_parameters
    from batch_predictions.sources.source_registry import excludes_seen
    from batch_predictions.warehouse import Warehouse

    source, state, last_day = ingest_source(settings)
    warehouse = Warehouse.of(settings)
    rows = read_interactions(warehouse, settings, last_day, training_days(settings))
    interactions = Interactions.from_table(rows.table)
    end = min(last_day, args.cut + dt.timedelta(days=args.days)) if args.days else last_day
    holdout = make_holdout(interactions, args, end, last_day, excludes_seen(settings))
    if args.cut:
        interactions = interactions.up_to(end)
    cut = holdout.as_of
    if not args.no_promotions:
        ingest_promotions(settings, source, state, cut, weeks)
    side_information = WarehouseSideInformation(warehouse, settings)
    train = take_users(holdout.train, args.max_users)
    config = replace(
        two_stage_config(settings, len(train)),
        window_days=(end - cut).days or 7,
        seed=args.seed,
    )
    share = len(train.user_ids) / len(holdout.train.user_ids)
    trainer: RankerTrainer = CachingTrainer(config, side_information, progress, share)
    if args.minutes != 0:
        trainer = search_parameters(train, cut, trainer, args.minutes).trainer
    if args.served:
        return select(train, cut, trainer), holdout, replace(trainer, user_share=1.0), end
    return select(interactions, end, trainer, holdout=holdout), holdout, trainer, end


def take_users(interactions: Interactions, max_users: int | None) -> Interactions:
    """The rows of the users that a training reads, by the hash of their ids; None: all."""
    ids = interactions.user_ids.to_pylist()
    if max_users is None or max_users >= len(ids):
        return interactions
    hashes = np.array(
        [hashlib.md5(name.encode(), usedforsecurity=False).hexdigest() for name in ids]
    )
    is_taken = np.zeros(len(ids), dtype=bool)
    is_taken[np.argsort(hashes)[:max_users]] = True
    return interactions.filter(is_taken[interactions.users])


def evaluate_served(selection: Selection, holdout: Holdout, trainer: RankerTrainer) -> list[Row]:
    """Metrics of what serves, as `served`, and of every generator fitted on the same rows."""
    from batch_predictions.models.common.intervals import metric_row, paired_difference
    from batch_predictions.models.common.ranking_metrics import NDCG, NDCG_20, RECALL
    from batch_predictions.models.recommender.training.ranking_evaluation import evaluate

    users = trainer.side_information.users(holdout.as_of)
    features = trainer.item_features(holdout.train, holdout.as_of, holdout.train.item_ids)
    model = selection.model
    evaluations = {"served": evaluate(model, holdout, features.reindex(model.items), users)}
    for generator in trainer.fit_generators(holdout.train, holdout.as_of).generators:
        generator_features = features.reindex(generator.model.items)
        evaluations[generator.name] = evaluate(generator.model, holdout, generator_features, users)
    rows = []
    for name, evaluation in evaluations.items():
        rows += evaluation.renamed(name).rows(trainer.config.seed)
    for metric in (NDCG, NDCG_20, RECALL):
        values = {name: evaluation.per_user[metric] for name, evaluation in evaluations.items()}
        served = values.pop("served")
        best = max(values, key=lambda name: float(values[name].mean()))
        gain = paired_difference(served, values[best], trainer.config.seed)
        rows.append(metric_row(f"served against {best}", f"{metric}_gain", gain))
    return rows


def ingest_source(settings: Settings) -> tuple[Source, State, dt.date]:
    """Ingests interactions, items and users; the source, the home's state and the last day."""
    from batch_predictions.sources.home_state import initialise_home
    from batch_predictions.sources.ingest import ingest
    from batch_predictions.sources.source_registry import build_source
    from batch_predictions.tables import INTERACTIONS, ITEMS, USERS
    from batch_predictions.warehouse import Warehouse

    state = initialise_home(settings)
    source = build_source(settings.source, state)
    span = source.day_range(INTERACTIONS)
    assert span is not None, "the interactions have no readable day"
    days = [str(span[0] + dt.timedelta(days=n)) for n in range((span[1] - span[0]).days + 1)]
    warehouse = Warehouse.of(settings)
    ingest(warehouse, source, INTERACTIONS, days, state)
    for table in (ITEMS, USERS):
        ingest(warehouse, source, table, [days[-1]], state)
    return source, state, span[1]


def ingest_promotions(
    settings: Settings, source: Source, state: State, cut: dt.date, weeks: int
) -> None:
    """Ingests the promotions of the weeks around the cut that are known on it."""
    from batch_predictions.sources.ingest import ingest
    from batch_predictions.tables import PROMOTION_CALENDAR, week_of
    from batch_predictions.warehouse import Warehouse

    if PROMOTION_CALENDAR not in source.tables():
        return
    first = week_of(cut - dt.timedelta(days=56))
    mondays = [first + dt.timedelta(days=7 * n) for n in range(16)]
    last = cut + dt.timedelta(days=7 * weeks)
    keys = [str(monday) for monday in mondays if monday <= last]
    ingest(Warehouse.of(settings), source, PROMOTION_CALENDAR, keys, state)


def make_holdout(
    interactions: Interactions,
    args: argparse.Namespace,
    end: dt.date,
    last_day: dt.date,
    exclude_seen: bool,
) -> Holdout:
    """The hold-out that `--split`, `--cut` and `--last-share` ask for."""
    from batch_predictions.models.recommender.data.splits import (
        leave_last_out,
        leave_out,
        split_by_time,
        split_newest,
    )

    if args.split == "user":
        return leave_out(interactions, as_of=last_day, seed=args.seed, share=args.hidden_share)
    if args.split == "last":
        return leave_last_out(interactions, as_of=last_day)
    if args.split == "one":
        return leave_last_out(interactions, as_of=last_day, share=0, least=1)
    if args.cut:
        rows = interactions.up_to(end)
        return split_by_time(rows, cut=args.cut, exclude_seen=exclude_seen, seed=args.seed)
    return split_newest(interactions, args.last_share, exclude_seen=exclude_seen, seed=args.seed)


if __name__ == "__main__":
    main()
