"""How good the two stages and every simpler recommender are on days that none of them has seen.

    python benchmarks/recommender_quality.py movielens FOLDER
    python benchmarks/recommender_quality.py movielens FOLDER --cut 1998-03-30
    python benchmarks/recommender_quality.py movielens FOLDER --split user
    python benchmarks/recommender_quality.py movielens FOLDER --split last
    python benchmarks/recommender_quality.py complete_journey --cut 2017-11-17 --days 7
    python benchmarks/recommender_quality.py complete_journey --cut 2017-12-01 --days 28 --new-items
    python benchmarks/recommender_quality.py files FOLDER --split user

One cut in time: what comes before it is learned from, users known before and active after it are
asked. The cut is at the end of the day `--cut`, or else before the newest tenth of all rows, by the
time of day too. `--split user` hides a fifth of each user's items instead, for data without times;
`--split last` each user's newest tenth, by the time of day too: no forecast, since what others did
later is known. The promotions of the weeks that `--days` asks about are known, four at most, as
they are to whoever plans them (`--planned-weeks`: fewer). With `--tune N`, Optuna looks for
parameters on the window before the cut first. Prints one JSON object; progress goes to the standard
error.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from batch_predictions.settings import (
    RecommendationsSettings,
    RecommenderSettings,
    Settings,
    SourceSettings,
)


def main() -> None:
    """Reads the source into a temporary home, cuts, fits, measures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", choices=["movielens", "complete_journey", "files"])
    parser.add_argument("path", type=Path, nargs="?")
    parser.add_argument("--cut", type=dt.date.fromisoformat, help="last day that is learned from")
    parser.add_argument("--last-share", type=float, default=0.1, help="else: rows after the cut")
    parser.add_argument("--days", type=int, help="ask about so many days after `--cut` only")
    parser.add_argument("--split", choices=["time", "user", "last"], default="time")
    parser.add_argument("--new-items", action="store_true", help="leave out what users had")
    parser.add_argument("--no-promotions", action="store_true", help="hide the calendar")
    parser.add_argument(
        "--planned-weeks",
        type=int,
        choices=range(1, 5),
        help="weeks of the calendar that are known; else: those of --days",
    )
    parser.add_argument("--tune", type=int, default=0, help="Optuna trials before the contest")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    if args.days and not args.cut:
        parser.error("--days: the days after which day? Give --cut as well")
    with tempfile.TemporaryDirectory() as home:
        answer = measure(args, Path(home))
    print(json.dumps(answer, indent=1))


def measure(args: argparse.Namespace, home: Path) -> dict[str, object]:
    """Everything of one source and split."""
    import os

    os.environ["BATCH_PREDICTIONS_HOME"] = str(home)
    weeks = args.planned_weeks or min(4, max(1, -(-(args.days or 7) // 7)))
    settings = Settings(
        home=home,
        source=SourceSettings(kind=args.source, path=args.path, original_dates=True),
        recommendations=RecommendationsSettings(exclude_seen=True if args.new_items else None),
        recommender=RecommenderSettings(planned_weeks=weeks),
    )
    from batch_predictions.sources.ingest import ingest
    from batch_predictions.sources.registry import excludes_seen, initialise_home, source_of
    from batch_predictions.tables import INTERACTIONS, ITEMS, PROMOTION_CALENDAR, USERS, week_of
    from batch_predictions.warehouse import Warehouse

    state = initialise_home(settings)
    source = source_of(settings.source, state)
    span = source.extent(INTERACTIONS)
    assert span is not None, "the interactions have no readable day"
    days = [str(span[0] + dt.timedelta(days=n)) for n in range((span[1] - span[0]).days + 1)]
    warehouse = Warehouse.of(settings)
    ingest(warehouse, source, INTERACTIONS, days, state)
    for table in (ITEMS, USERS):
        ingest(warehouse, source, table, [days[-1]], state)

    from batch_predictions.models.recommender.data.interactions import Interactions
    from batch_predictions.models.recommender.data.splits import (
        leave_last_out,
        leave_out,
        split_by_time,
        split_newest,
    )
    from batch_predictions.models.recommender.selection import select
    from batch_predictions.models.recommender.training.tuning import tune
    from batch_predictions.models.recommender.warehouse_inputs import course, interactions

    began = time.perf_counter()

    def say(text: str) -> None:
        print(f"{time.perf_counter() - began:7.1f} s  {text}", file=sys.stderr, flush=True)

    rows = Interactions.from_table(interactions(warehouse, settings, span[1]))
    masked = excludes_seen(settings)
    end = min(span[1], args.cut + dt.timedelta(days=args.days)) if args.days else span[1]
    if args.split == "user":
        holdout = leave_out(rows, as_of=span[1], seed=args.seed)
    elif args.split == "last":
        holdout = leave_last_out(rows, as_of=span[1])
    elif args.cut:
        rows = rows.up_to(end)
        holdout = split_by_time(rows, cut=args.cut, exclude_seen=masked, seed=args.seed)
    else:
        holdout = split_newest(rows, args.last_share, exclude_seen=masked, seed=args.seed)
    cut = holdout.as_of
    if PROMOTION_CALENDAR in source.tables() and not args.no_promotions:
        first = week_of(cut - dt.timedelta(days=56))
        mondays = [first + dt.timedelta(days=7 * n) for n in range(16)]
        known = [str(monday) for monday in mondays if monday <= cut + dt.timedelta(days=7 * weeks)]
        ingest(warehouse, source, PROMOTION_CALENDAR, known, state)
    taught = replace(
        course(warehouse, settings, say), window_days=(end - cut).days or 7, seed=args.seed
    )
    if args.tune:
        taught = tune(holdout.train, cut, taught, args.tune)
    selection = select(rows, end, taught, holdout=holdout)
    models: dict[str, dict[str, object]] = {}
    for row in selection.metrics:
        figures = {name: row[name] for name in ("value", "lower", "upper")}
        models.setdefault(str(row["candidate"]), {})[str(row["metric"])] = figures
    return {
        "source": args.source,
        "split": selection.split,
        "cut": str(cut),
        "until": str(end),
        "users": len(holdout.users),
        "seen_left_out": holdout.masks_seen,
        "planned_weeks": weeks,
        "why": selection.why,
        "models": models,
        "parameters": {name: dict(each) for name, each in taught.params.items()},
        "ranker": dict(taught.ranker_params),
        "seconds": round(time.perf_counter() - began, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


if __name__ == "__main__":
    main()
