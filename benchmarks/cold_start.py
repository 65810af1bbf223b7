"""How good the fallback is for users of whom nothing but demographics is known.

    python benchmarks/cold_start.py movielens ../shared/data/movielens_100k --split random
    python benchmarks/cold_start.py movielens ../shared/data/movielens_100k --split time
    python benchmarks/cold_start.py complete_journey --cut 2017-12-03 [--days 28] [--no-promotions]

A fifth of the users is held out whole, five times, so that everybody is held out once. The others'
rows up to the cut go through the weekly training as it is (`select_demographic`), which chooses
half-life and tilt by cross-validation among them; then the held-out users are asked about: what
they took after the cut (`time`), or all that they ever took (`random`). Their age, gender and place
are known, and nothing else; a place that is known from interactions only is the usual one up to the
cut. The promotions of the week after the cut are known, as they are to the platform. Two oracles
say what is possible: the best single list for these users in hindsight, and lists of each
segment, learned from other users of the same days. Prints one JSON object; progress goes to the
standard error.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
import sys
import tempfile
import time
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cold_start_upper_bound import oracles

from batch_predictions.features.queries import parameters, sql
from batch_predictions.models.common.bootstrap import bootstrap_interval, paired_difference
from batch_predictions.models.common.ranking_metrics import NDCG, Doubles, measures
from batch_predictions.models.demographic.model import DemographicModel
from batch_predictions.models.demographic.promotion_uplift import Changes, Weeks
from batch_predictions.models.demographic.segments import user_leaves
from batch_predictions.models.demographic.selection import (
    HALF_LIVES,
    NAMES,
    POPULARITY,
    PROMOTED,
    select_demographic,
)
from batch_predictions.models.demographic.statistics import (
    SegmentStatistics,
    matrices,
    recency,
    served,
)
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.generators.popularity import popularity_name
from batch_predictions.settings import Settings, SourceSettings
from batch_predictions.sources.ingest import ingest
from batch_predictions.sources.registry import initialise_home, source_of
from batch_predictions.tables import INTERACTIONS, ITEMS, PROMOTION_CALENDAR, USERS
from batch_predictions.warehouse import Warehouse

ROWS = """with goods as ({goods})
    select events.user_id, events.item_id, events.date, count(*)::DOUBLE as events
    from raw.interactions as events join goods on goods.item_id = events.item_id and goods.available
    group by all order by all"""
SEGMENTS = "select user_id, age_bracket, gender, location from ({segments}) order by user_id"
FOLDS = 5
RECENT, SERVED = "recency_popularity_chosen", "fallback"


def main() -> None:
    """Reads the source into a temporary home, holds users out, trains, measures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", choices=["movielens", "complete_journey", "files"])
    parser.add_argument("path", type=Path, nargs="?")
    parser.add_argument("--split", choices=["random", "time"], default="time")
    parser.add_argument("--cut", type=dt.date.fromisoformat, help="last day that is learned from")
    parser.add_argument("--last-share", type=float, default=0.2, help="else: rows after the cut")
    parser.add_argument("--days", type=int, help="ask about so many days after the cut only")
    parser.add_argument("--no-promotions", action="store_true", help="hide the calendar")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    began = time.process_time()
    with tempfile.TemporaryDirectory() as home:
        chosen = SourceSettings(kind=args.source, path=args.path, original_dates=True)
        settings = Settings(home=Path(home), source=chosen)
        rows, segments, cut, changes, weeks = _read(settings, args)
        answer = _measure(rows, segments, cut, changes, weeks, settings, args)
    answer["cpu_seconds"] = round(time.process_time() - began, 1)
    print(json.dumps(answer, indent=1))


def _read(
    settings: Settings, args: argparse.Namespace
) -> tuple[Interactions, pa.Table, dt.date | None, Changes | None, Weeks | None]:
    """Rows of goods, demographics as of the cut, the cut (None: all rows are of one day), and the
    promotions after and before a day (None: nothing is known)."""
    state = initialise_home(settings)
    source = source_of(settings.source, state)
    span = source.extent(INTERACTIONS)
    assert span is not None, "the interactions have no readable day"
    length = (span[1] - span[0]).days + 1
    days = [(span[0] + dt.timedelta(days=n)).isoformat() for n in range(length)]
    warehouse = Warehouse.of(settings)
    ingest(warehouse, source, INTERACTIONS, days, state)
    for table in (USERS, ITEMS):
        ingest(warehouse, source, table, days[-1:], state)
    bound = {**parameters(settings), "date": span[1]}
    table = warehouse.query(ROWS.format(goods=sql("item_state")), bound)
    cut: dt.date | None = None
    if args.split == "random":
        # All on one day: nothing has an age, and hiding the user is all that can be done.
        day = pa.array([span[1]] * table.num_rows, pa.date32())
        table = table.set_column(table.column_names.index("date"), "date", day)
    rows = Interactions.from_table(table)
    if args.split == "time":
        cut = args.cut or _last_day(rows, args.last_share)
        if args.days:
            rows = rows.up_to(cut + dt.timedelta(days=args.days))
    segments = warehouse.query(
        SEGMENTS.format(segments=sql("user_segments")), {**bound, "date": cut or span[1]}
    )
    changes = shown = None
    if PROMOTION_CALENDAR in source.tables() and cut and not args.no_promotions:
        monday = cut - dt.timedelta(days=cut.weekday())
        weeks = [monday + dt.timedelta(days=7 * number) for number in range(-17, 2)]
        weeks = [week for week in weeks if week >= span[0]]
        ingest(warehouse, source, PROMOTION_CALENDAR, [str(week) for week in weeks], state)
        changes = lru_cache(lambda day: warehouse.query(sql("promotion_changes"), {"date": day}))
        shown = lru_cache(lambda day: warehouse.query(sql("promotion_weeks"), {"date": day}))
    return rows, segments, cut, changes, shown


def _last_day(rows: Interactions, share: float) -> dt.date:
    """The last day that leaves at least this share of the rows after it."""
    first: dt.date = np.sort(rows.dates)[int(len(rows) * (1 - share))].item()
    return first - dt.timedelta(days=1)


def _measure(
    rows: Interactions,
    segments: pa.Table,
    cut: dt.date | None,
    changes: Changes | None,
    weeks: Weeks | None,
    settings: Settings,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Every candidate's figures over the users of all folds."""
    everything = np.ones(len(rows), dtype=bool)
    before = everything if cut is None else rows.dates <= np.datetime64(cut, "D")
    answers = everything if cut is None else ~before
    users = len(rows.user_ids)
    fold = np.empty(users, dtype=np.int64)
    fold[np.random.default_rng(args.seed).permutation(users)] = np.arange(users) % FOLDS
    asked = np.unique(rows.users[answers])
    per_user: dict[str, Doubles] = {}
    chosen: Counter[str] = Counter()
    for number in range(FOLDS):
        print(f"fold {number + 1} of {FOLDS}: training on the others", file=sys.stderr)
        trained = rows.where(before & (fold[rows.users] != number))
        through = cut or rows.dates[0].item()
        selection = select_demographic(
            _table(trained),
            segments,
            through,
            window_days=settings.fallback.window_days,
            seed=args.seed,
            min_users=settings.fallback.min_users,
            changes=changes,
            weeks=weeks,
        )
        print(selection.why, file=sys.stderr)
        chosen[selection.candidate] += 1
        models = {
            POPULARITY: (DemographicModel(math.inf), None),
            **{
                popularity_name(days): (DemographicModel(days), settings.fallback.window_days)
                for days in HALF_LIVES
            },
            **{
                name: (model, settings.fallback.window_days)
                for name, model in selection.models.items()
                if name in (*NAMES.values(), PROMOTED)
            },
            RECENT: (
                DemographicModel(selection.model.half_life_days),
                settings.fallback.window_days,
            ),
            SERVED: (selection.model, settings.fallback.window_days),
        }
        members = np.flatnonzero(fold[asked] == number)
        held_out = rows.where(answers & (fold[rows.users] == number))
        for name, (model, days) in models.items():
            values = _ndcg(model, days, trained, through, held_out, segments, changes, settings)
            per_user.setdefault(name, np.zeros(len(asked)))[members] = values
    held_out = rows.where(answers)
    leaves, leaf_of_user = user_leaves(held_out.user_ids, segments)
    bounds = oracles(held_out, [leaves[place] for place in leaf_of_user], args.seed)
    return {
        "source": args.source,
        "split": args.split,
        "cut": cut and str(cut),
        "users_held_out": len(asked),
        "users_never_seen_before_the_cut": len(np.setdiff1d(asked, rows.users[before]))
        if cut
        else 0,
        "served": dict(sorted(chosen.items())),
        "candidates": {
            name: {
                NDCG: bootstrap_interval(values, args.seed)._asdict(),
                "over_popularity": _gain(values, per_user[POPULARITY], args.seed),
                "over_recency_popularity": _gain(values, per_user[RECENT], args.seed),
            }
            for name, values in per_user.items()
        },
        "oracles": {
            name: _gain(values, per_user[POPULARITY], args.seed) for name, values in bounds.items()
        },
    }


def _table(rows: Interactions) -> pa.Table:
    return pa.table(
        {
            "user_id": rows.user_ids.take(pa.array(rows.users)),
            "item_id": rows.item_ids.take(pa.array(rows.items)),
            "date": pa.array(rows.dates, pa.date32()),
            "events": rows.events,
        }
    )


def _ndcg(
    model: DemographicModel,
    window_days: int | None,
    trained: Interactions,
    through: dt.date,
    held_out: Interactions,
    segments: pa.Table,
    changes: Changes | None,
    settings: Settings,
) -> Doubles:
    """NDCG@10 of each held-out user, in the order of ids; items unknown to the model are missed."""
    everything = np.ones(len(trained), dtype=bool)
    weights = trained.events
    if math.isfinite(model.half_life_days):
        weights = weights * recency(trained, through, model.half_life_days, window_days)
    popular, ever = matrices(trained, everything, weights)
    leaves, leaf_of_user = user_leaves(trained.user_ids, segments)
    all_users = np.ones(len(trained.user_ids), dtype=bool)
    learned = SegmentStatistics(trained, leaves, leaf_of_user, popular, ever, all_users)
    shares = model.tilt.on(learned.counts, learned.users)
    asked_leaves, asked_leaf = user_leaves(held_out.user_ids, segments)
    factor = None
    if model.calendar and changes:
        factor = model.calendar.on(changes(through), learned.items)
    lists = served(
        model.tilt, shares, learned.users, asked_leaves, settings.fallback.min_users, factor
    )
    tops = lists[asked_leaf]
    found = pc.fill_null(pc.index_in(learned.items, value_set=held_out.item_ids), -1)
    positions = np.append(found.to_numpy(zero_copy_only=False), -1)[tops]
    wanted = held_out.users.astype(np.int64) * len(held_out.item_ids) + held_out.items
    offered = np.arange(len(tops))[:, np.newaxis] * len(held_out.item_ids) + positions
    hits = np.isin(offered, wanted) & (positions >= 0)
    distinct = np.unique(wanted) // len(held_out.item_ids)
    return measures(hits, np.bincount(distinct, minlength=len(tops)))[NDCG]


def _gain(values: Doubles, base: Doubles, seed: int) -> dict[str, float]:
    """The paired difference, absolute and in per cent of the base's mean."""
    gain = paired_difference(values, base, seed)
    mean = float(base.mean())
    return {
        **{name: round(getattr(gain, name), 5) for name in ("mean", "lower", "upper")},
        "standard_error": round(float((values - base).std(ddof=1) / math.sqrt(len(values))), 5),
        **{
            f"{name}_percent": round(100 * getattr(gain, name) / mean, 2)
            for name in ("mean", "lower", "upper")
        },
    }


if __name__ == "__main__":
    main()
