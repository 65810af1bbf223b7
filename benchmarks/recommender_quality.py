"""How good each recommender is on interactions that come after what it learned from.

    python benchmarks/recommender_quality.py movielens ../shared/data/movielens_100k
    python benchmarks/recommender_quality.py complete_journey

One cut in time: everything before it is learned from, the users who are active after it and were
known before are asked. Prints one JSON object; progress goes to the standard error.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
import tempfile
import time
from pathlib import Path

from batch_predictions.models.ranking import MAP, NDCG, RECALL, bootstrap_interval
from batch_predictions.models.recommender.als import ALS
from batch_predictions.models.recommender.data import Interactions
from batch_predictions.models.recommender.ease import EASE
from batch_predictions.models.recommender.evaluation import evaluate, split_by_time
from batch_predictions.models.recommender.popularity import Popularity
from batch_predictions.models.recommender.selection import BASELINES, NEW_ITEMS, REPEATS
from batch_predictions.settings import Settings, SourceSettings
from batch_predictions.sources.ingest import ingest
from batch_predictions.sources.registry import begin, source_of
from batch_predictions.tables import INTERACTIONS
from batch_predictions.warehouse import Warehouse

ROWS = """select user_id, item_id, date, count(*)::DOUBLE as events from raw.interactions
    group by all order by all"""


def main() -> None:
    """Reads the source into a temporary home, cuts, fits, measures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", choices=["movielens", "complete_journey", "files"])
    parser.add_argument("path", type=Path, nargs="?")
    parser.add_argument("--cut", type=dt.date.fromisoformat, help="last day that is learned from")
    parser.add_argument("--last-share", type=float, default=0.1, help="else: rows after the cut")
    parser.add_argument("--days", type=int, help="ask about so many days after the cut only")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        chosen = SourceSettings(kind=args.source, path=args.path, original_dates=True)
        settings = Settings(home=Path(home), source=chosen)
        state = begin(settings)
        source = source_of(chosen, state)
        span = source.extent(INTERACTIONS)
        assert span is not None, "the interactions have no readable day"
        length = (span[1] - span[0]).days + 1
        days = [(span[0] + dt.timedelta(days=n)).isoformat() for n in range(length)]
        warehouse = Warehouse.of(settings)
        ingest(warehouse, source, INTERACTIONS, days, state)
        rows = Interactions.from_table(warehouse.query(ROWS))
        repeats = source.repeats
    cut = args.cut or _cut(rows, args.last_share)
    if args.days:
        rows = rows.up_to(cut + dt.timedelta(days=args.days))
    holdout = split_by_time(rows, cut=cut, exclude_seen=not repeats, seed=args.seed)
    tuned = REPEATS if repeats else NEW_ITEMS
    candidates = {
        **{name: (Popularity, params) for name, params in BASELINES.items()},
        "als": (ALS, {"seed": args.seed, "history_half_life_days": 90, **tuned["als"]}),
        "ease": (EASE, {"history_half_life_days": 90, **tuned["ease"]}),
    }
    models = {}
    for name, (family, params) in candidates.items():
        print(f"fitting {name}", file=sys.stderr)
        began = time.perf_counter()
        measured = evaluate(family.fit(holdout.train, cut, **params), holdout)
        models[name] = {
            metric: bootstrap_interval(measured.per_user[metric], args.seed)._asdict()
            for metric in (NDCG, RECALL, MAP)
        } | {"coverage@10": measured.coverage, "seconds": round(time.perf_counter() - began, 2)}
    answer = {"source": args.source, "cut": str(cut), "users": len(holdout.users), "models": models}
    print(json.dumps(answer, indent=1))


def _cut(rows: Interactions, share: float) -> dt.date:
    """The last day that leaves at most this share of the rows after it."""
    import numpy as np

    days = np.sort(rows.dates)
    first_held_out = days[int(len(days) * (1 - share))]
    day: dt.date = first_held_out.astype("datetime64[D]").astype(dt.date)
    return day - dt.timedelta(days=1)


if __name__ == "__main__":
    main()
