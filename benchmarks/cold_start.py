"""NDCG@10 of the fallback for users with demographics but without history.

    python benchmarks/cold_start.py movielens ../shared/data/movielens_100k --split random
    python benchmarks/cold_start.py movielens ../shared/data/movielens_100k --split time
    python benchmarks/cold_start.py complete_journey --cut 2017-12-03 [--days 28] [--no-promotions]

A fifth of the users is hidden, five times, so that every user is hidden once. The other users' rows
up to the cut go through the weekly training (`select_demographic`); then the hidden users are
evaluated on what they took after the cut (`time`), or on all that they ever took (`random`). Their
age, gender and location are known; a location that is known from interactions only is the most
frequent one up to the cut. The promotions of the week after the cut are known, as they are to the
platform. `upper_bounds` are computed from the test rows. Prints one JSON object; progress goes to
the standard error.
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
from cold_start_upper_bound import upper_bounds

from batch_predictions.core.arrays import Doubles
from batch_predictions.features.sql.queries import parameters, sql
from batch_predictions.models.common.intervals import bootstrap_interval, paired_difference
from batch_predictions.models.common.ranking_metrics import NDCG, compute_metrics
from batch_predictions.models.demographic.demographic_evaluation import DemographicConfig
from batch_predictions.models.demographic.demographic_model import DemographicModel
from batch_predictions.models.demographic.demographic_segments import encode_user_leaves
from batch_predictions.models.demographic.demographic_selection import (
    HALF_LIVES,
    NAMES,
    PROMOTED,
    DemographicSelection,
    select_demographic,
)
from batch_predictions.models.demographic.demographic_statistics import (
    SegmentStatistics,
    event_matrices,
    recency_weights,
    serve_lists,
)
from batch_predictions.models.demographic.promotion_uplift import PromotionChanges, PromotionWeeks
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.generators.popularity import popularity_name
from batch_predictions.settings import Settings, SourceSettings
from batch_predictions.sources.home_state import initialise_home
from batch_predictions.sources.ingest import ingest
from batch_predictions.sources.source_registry import build_source
from batch_predictions.tables import INTERACTIONS, ITEMS, PROMOTION_CALENDAR, USERS
from batch_predictions.warehouse import Warehouse

ROWS = """with items as ({item_state})
    select events.user_id, events.item_id, events.date, count(*)::DOUBLE as events
    from raw.interactions as events join items on items.item_id = events.item_id and items.available
    group by all order by all"""
SEGMENTS = "select user_id, age_bracket, gender, location from ({segments}) order by user_id"
FOLDS = 5
POPULARITY = popularity_name(None)
RECENCY, FALLBACK = "recency_popularity_chosen", "fallback"


def main() -> None:
    """Reads the source into a temporary home, hides users, trains, evaluates."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", choices=["movielens", "complete_journey", "files"])
    parser.add_argument("path", type=Path, nargs="?")
    parser.add_argument("--split", choices=["random", "time"], default="time")
    parser.add_argument("--cut", type=dt.date.fromisoformat, help="last training day")
    parser.add_argument(
        "--last-share", type=float, default=0.2, help="without --cut: share of the rows after it"
    )
    parser.add_argument("--days", type=int, help="evaluate only this many days after the cut")
    parser.add_argument("--no-promotions", action="store_true", help="hide the calendar")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    start = time.process_time()
    with tempfile.TemporaryDirectory() as home:
        source = SourceSettings(kind=args.source, path=args.path, original_dates=True)
        settings = Settings(home=Path(home), source=source)
        rows, segments, cut, changes, weeks = _read(settings, args)
        result = _evaluate(rows, segments, cut, changes, weeks, settings, args)
    result["cpu_seconds"] = round(time.process_time() - start, 1)
    print(json.dumps(result, indent=1))


def _read(
    settings: Settings, args: argparse.Namespace
) -> tuple[Interactions, pa.Table, dt.date | None, PromotionChanges | None, PromotionWeeks | None]:
    """Reads available items, demographics, the cut, and queries of promotions.

    The cut is None where all rows are of one day; the queries are of the promotions after and
    before a day, None where these are unknown.
    """
    state = initialise_home(settings)
    source = build_source(settings.source, state)
    span = source.day_range(INTERACTIONS)
    assert span is not None, "the interactions have no readable day"
    length = (span[1] - span[0]).days + 1
    days = [(span[0] + dt.timedelta(days=n)).isoformat() for n in range(length)]
    warehouse = Warehouse.of(settings)
    ingest(warehouse, source, INTERACTIONS, days, state)
    for table in (USERS, ITEMS):
        ingest(warehouse, source, table, days[-1:], state)
    params = {**parameters(settings), "date": span[1]}
    table = warehouse.query(ROWS.format(item_state=sql("item_state")), params)
    cut: dt.date | None = None
    if args.split == "random":
        # All rows on one day: without times, users can only be hidden.
        day = pa.array([span[1]] * table.num_rows, pa.date32())
        table = table.set_column(table.column_names.index("date"), "date", day)
    rows = Interactions.from_table(table)
    if args.split == "time":
        cut = args.cut or _last_day(rows, args.last_share)
        if args.days:
            rows = rows.up_to(cut + dt.timedelta(days=args.days))
    segments = warehouse.query(
        SEGMENTS.format(segments=sql("user_segments")), {**params, "date": cut or span[1]}
    )
    changes = past_weeks = None
    if PROMOTION_CALENDAR in source.tables() and cut and not args.no_promotions:
        monday = cut - dt.timedelta(days=cut.weekday())
        weeks = [monday + dt.timedelta(days=7 * number) for number in range(-17, 2)]
        weeks = [week for week in weeks if week >= span[0]]
        ingest(warehouse, source, PROMOTION_CALENDAR, [str(week) for week in weeks], state)
        changes = lru_cache(lambda day: warehouse.query(sql("promotion_changes"), {"date": day}))
        past_weeks = lru_cache(lambda day: warehouse.query(sql("promotion_weeks"), {"date": day}))
    return rows, segments, cut, changes, past_weeks


def _last_day(rows: Interactions, share: float) -> dt.date:
    """The last day that leaves at least this share of the rows after it."""
    first: dt.date = np.sort(rows.dates)[int(len(rows) * (1 - share))].item()
    return first - dt.timedelta(days=1)


def _evaluate(
    rows: Interactions,
    segments: pa.Table,
    cut: dt.date | None,
    changes: PromotionChanges | None,
    weeks: PromotionWeeks | None,
    settings: Settings,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Every candidate's metrics over the users of all folds."""
    all_rows = np.ones(len(rows), dtype=bool)
    is_train = all_rows if cut is None else rows.dates <= np.datetime64(cut, "D")
    is_test = all_rows if cut is None else ~is_train
    users = len(rows.user_ids)
    fold = np.empty(users, dtype=np.int64)
    fold[np.random.default_rng(args.seed).permutation(users)] = np.arange(users) % FOLDS
    users_evaluated = np.unique(rows.users[is_test])
    per_user: dict[str, Doubles] = {}
    candidates: Counter[str] = Counter()
    for number in range(FOLDS):
        print(f"fold {number + 1} of {FOLDS}: training on the other folds", file=sys.stderr)
        train = rows.filter(is_train & (fold[rows.users] != number))
        through = cut or rows.dates[0].item()
        selection = _select(train, segments, through, changes, weeks, settings, args.seed)
        print(selection.why, file=sys.stderr)
        candidates[selection.candidate] += 1
        members = np.flatnonzero(fold[users_evaluated] == number)
        test = rows.filter(is_test & (fold[rows.users] == number))
        for name, (model, days) in _models(selection, settings).items():
            values = _ndcg(model, days, train, through, test, segments, changes, settings)
            per_user.setdefault(name, np.zeros(len(users_evaluated)))[members] = values
    test = rows.filter(is_test)
    leaves, leaf_of_user = encode_user_leaves(test.user_ids, segments)
    bounds = upper_bounds(test, [leaves[index] for index in leaf_of_user], args.seed)
    new_users = np.setdiff1d(users_evaluated, rows.users[is_train])
    return {
        "source": args.source,
        "split": args.split,
        "cut": cut and str(cut),
        "users_held_out": len(users_evaluated),
        "users_never_seen_before_the_cut": len(new_users) if cut else 0,
        "served": dict(sorted(candidates.items())),
        "candidates": {
            name: {
                NDCG: bootstrap_interval(values, args.seed)._asdict(),
                "over_popularity": _gain(values, per_user[POPULARITY], args.seed),
                "over_recency_popularity": _gain(values, per_user[RECENCY], args.seed),
            }
            for name, values in per_user.items()
        },
        "upper_bounds": {
            name: _gain(values, per_user[POPULARITY], args.seed) for name, values in bounds.items()
        },
    }


def _select(
    train: Interactions,
    segments: pa.Table,
    through: dt.date,
    changes: PromotionChanges | None,
    weeks: PromotionWeeks | None,
    settings: Settings,
    seed: int,
) -> DemographicSelection:
    """The selection that the platform makes from the training rows."""
    config = DemographicConfig(
        seed=seed, window_days=settings.fallback.window_days, min_users=settings.fallback.min_users
    )
    return select_demographic(
        _table(train), segments, through, config, changes=changes, weeks=weeks
    )


def _models(
    selection: DemographicSelection, settings: Settings
) -> dict[str, tuple[DemographicModel, int | None]]:
    """Every compared model with the days of events that it counts; None: all days."""
    days = settings.fallback.window_days
    compared = (*NAMES.values(), PROMOTED)
    return {
        POPULARITY: (DemographicModel(math.inf), None),
        **{
            popularity_name(half_life): (DemographicModel(half_life), days)
            for half_life in HALF_LIVES
        },
        **{name: (model, days) for name, model in selection.models.items() if name in compared},
        RECENCY: (DemographicModel(selection.model.half_life_days), days),
        FALLBACK: (selection.model, days),
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
    train: Interactions,
    through: dt.date,
    test: Interactions,
    segments: pa.Table,
    changes: PromotionChanges | None,
    settings: Settings,
) -> Doubles:
    """NDCG@10 of each hidden user, in the order of ids; items unknown to the model are missed."""
    all_rows = np.ones(len(train), dtype=bool)
    weights = train.events
    if math.isfinite(model.half_life_days):
        weights = weights * recency_weights(train, through, model.half_life_days, window_days)
    events, log_events = event_matrices(train, all_rows, weights)
    leaves, leaf_of_user = encode_user_leaves(train.user_ids, segments)
    all_users = np.ones(len(train.user_ids), dtype=bool)
    statistics = SegmentStatistics(train, leaves, leaf_of_user, events, log_events, all_users)
    shares = model.adjustment.apply(statistics.counts, statistics.users)
    test_leaves, test_leaf = encode_user_leaves(test.user_ids, segments)
    factors = None
    if model.uplift and changes:
        factors = model.uplift.factors(changes(through), statistics.items)
    lists = serve_lists(
        model.adjustment,
        shares,
        statistics.users,
        test_leaves,
        settings.fallback.min_users,
        factors,
    )[test_leaf]
    in_test = pc.fill_null(pc.index_in(statistics.items, value_set=test.item_ids), -1)
    positions = np.append(in_test.to_numpy(zero_copy_only=False), -1)[lists]
    width = len(test.item_ids)
    relevant = test.users.astype(np.int64) * width + test.items
    recommended = np.arange(len(lists))[:, np.newaxis] * width + positions
    hits = np.isin(recommended, relevant) & (positions >= 0)
    users = np.unique(relevant) // width
    return compute_metrics(hits, np.bincount(users, minlength=len(lists)))[NDCG]


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
