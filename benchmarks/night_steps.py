"""The steps of a night that `night.py` measures, each in a process of its own."""

from __future__ import annotations

import datetime as dt
import json
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from batch_predictions.orchestration.job_runner import JobRunner
    from batch_predictions.planning.run_plan import RunPlan
    from batch_predictions.settings import Settings
    from batch_predictions.warehouse import Warehouse

FIRST_DAY = dt.date(2024, 1, 1)
"""A Monday."""
TABLES = {
    "recommender": ("recommendations", "item_scores", "sequence_states"),
    "demographic": ("demographic_recommendations",),
    "churn": ("churn_scores",),
}
"""Predictions of each model that a night is measured with."""
LOOKUPS = 20_000
"""Lookups that are timed, but at most ten for each user."""
DEMAND_TABLES = ("demand", "daily_sales", "item_quantities", "largest_quantities")
"""Feature tables that only forecasts of demand read, which are not among the night's models."""


@dataclass(frozen=True)
class Step:
    """What a step works with.

    Attributes:
        settings: of the home.
        warehouse: of the home.
        day: the night's day.
        models: that are trained and predict.
    """

    settings: Settings
    warehouse: Warehouse
    day: dt.date
    models: Sequence[str]

    def runner(self) -> JobRunner:
        """Of the platform's jobs, without tables that the shop lacks."""
        import dagster as dg

        from batch_predictions.definitions import defs
        from batch_predictions.orchestration import instance
        from batch_predictions.orchestration.job_runner import JobRunner
        from batch_predictions.tables import REVIEWS

        instance.prepare(self.settings)
        return JobRunner(dg.DagsterInstance.get(), defs, [REVIEWS], self.settings)

    def plan(self, day: dt.date) -> RunPlan:
        """What is to be ingested up to a day."""
        from batch_predictions.planning.run_plan import plan_run
        from batch_predictions.sources.home_state import initialise_home
        from batch_predictions.sources.source_registry import source_of

        state = initialise_home(self.settings)
        source = source_of(self.settings, state)
        return plan_run(self.settings, source, state, self.warehouse, None, day)

    def execute(self, job: Any, keys: Sequence[str], groups: Sequence[str], names: Any) -> None:
        """Runs assets of a job; `names` chooses them by (schema, table)."""
        from batch_predictions.orchestration.dead_runs import fail_dead_runs
        from batch_predictions.orchestration.progress import show_progress

        runner = self.runner()
        # A step that was killed holds the pool.
        fail_dead_runs(runner.instance, self.settings.home, is_alone=True, untracked=True)
        only = None if names is None else [k for k in runner.keys(job, groups) if names(*k.path)]
        with show_progress(1.0) as progress:
            runner.execute(job, keys, progress, groups, only)


def ingest_history(step: Step) -> dict[str, Any]:
    """Raw rows of all days but the last."""
    return _ingest(step, step.day - dt.timedelta(days=1))


def ingest_day(step: Step) -> dict[str, Any]:
    """Raw rows of the last day."""
    return _ingest(step, step.day)


def _ingest(step: Step, last: dt.date) -> dict[str, Any]:
    from batch_predictions.orchestration import jobs

    days = step.plan(last).raw_days
    step.execute(jobs.INGEST, days, (), None)
    rows = step.warehouse.value(
        "select count(*) from raw.interactions where date >= $first::DATE",
        {"first": min(days)},
    )
    return {"rows": rows, "days": len(days)}


def train(step: Step) -> dict[str, Any]:
    """The models, through the last week that ended before the night."""
    from batch_predictions.orchestration import jobs

    week = step.plan(step.day - dt.timedelta(days=1)).weeks[-1]
    step.execute(jobs.WEEKLY_TRAINING, [week.isoformat()], (), lambda _, name: name in step.models)
    return {"week": week.isoformat()}


def first_features(step: Step) -> dict[str, Any]:
    """Feature tables of the day before, with the first tiles of the home."""
    return _features(step, step.day - dt.timedelta(days=1))


def features(step: Step) -> dict[str, Any]:
    """Feature tables of the day."""
    return _features(step, step.day)


def _features(step: Step, day: dt.date) -> dict[str, Any]:
    from batch_predictions.orchestration import jobs

    step.execute(jobs.NIGHTLY, [str(day)], ("features",), lambda _, name: name not in DEMAND_TABLES)
    return {"rows": _count(step, "features", day)}


def first_predictions(step: Step) -> dict[str, Any]:
    """Recommendations of the day before, whose states of users the night advances."""
    return _predict(step, step.day - dt.timedelta(days=1), {"recommender"} & {*step.models})


def predict(step: Step) -> dict[str, Any]:
    """Predictions of the day."""
    return _predict(step, step.day, step.models)


def _predict(step: Step, day: dt.date, models: Iterable[str]) -> dict[str, Any]:
    from batch_predictions.orchestration import jobs

    tables = {table for model in models for table in TABLES[model]}
    if not tables:
        return {}
    step.execute(
        jobs.NIGHTLY, [str(day)], ("features", "predictions"), lambda _, name: name in tables
    )
    return {"rows": _count(step, "predictions", day), **_users_per_second(step)}


def release(step: Step) -> dict[str, Any]:
    """The release that applications see."""
    from batch_predictions.orchestration import jobs

    step.execute(jobs.NIGHTLY, [str(step.day)], ("serving",), None)
    return {"rows": _count(step, "predictions")}


def look_up(step: Step) -> dict[str, Any]:
    """Milliseconds of lookups of random users, one after the other."""
    from batch_predictions.serving.lookup import Lookup

    fallback = step.warehouse.value("select count(*) from predictions.demographic_recommendations")
    known = "raw.users" if fallback else "predictions.recommendations"
    ids = step.warehouse.query(f"select distinct user_id from {known}")["user_id"].to_pylist()
    lookups = min(LOOKUPS, 10 * len(ids))
    chosen = random.Random(1).choices(ids, k=lookups)
    milliseconds = []
    with Lookup(step.settings) as lookup:
        lookup.recommendations(chosen[0])
        for user in chosen:
            start = time.perf_counter()
            lookup.recommendations(user)
            milliseconds.append(1000 * (time.perf_counter() - start))
    milliseconds.sort()
    return {
        "lookups": lookups,
        "p50_ms": round(milliseconds[lookups // 2], 3),
        "p99_ms": round(milliseconds[lookups * 99 // 100], 3),
    }


def _users_per_second(step: Step) -> dict[str, Any]:
    """Of the recommendations' score step, from its log."""
    import dagster as dg

    instance = dg.DagsterInstance.get()
    events = instance.fetch_materializations(dg.AssetKey(["predictions", "recommendations"]), 1)
    values = {
        name: value.value
        for record in events.records
        if record.asset_materialization is not None
        for name, value in record.asset_materialization.metadata.items()
        if name in ("users_per_second", "rows_per_second", "keys_per_second")
    }
    return {f"recommendations_{name}": value for name, value in values.items()}


def _count(step: Step, schema: str, day: dt.date | None = None) -> int:
    from batch_predictions.tables import TABLES as ALL_TABLES

    tables = [t for t in ALL_TABLES.values() if t.schema == schema and t.partition == "date"]
    return sum(
        int(
            step.warehouse.value(
                f"select count(*) from {table.qualified} where date = $day::DATE",
                {"day": str(day or step.day)},
            )
        )
        for table in tables
        if not table.parts
    )


FUNCTIONS: dict[str, Callable[[Step], dict[str, Any]]] = {
    function.__name__: function
    for function in (
        ingest_history,
        train,
        first_features,
        first_predictions,
        ingest_day,
        features,
        predict,
        release,
        look_up,
    )
}
"""Every step by name, in their order."""


def main() -> None:
    """One step, for `night.py`: prints its counts as the last line."""
    step, days, models, two_stage = sys.argv[1:5]
    from batch_predictions.settings import Settings
    from batch_predictions.warehouse import Warehouse

    settings = Settings.load()
    day = FIRST_DAY + dt.timedelta(days=int(days) - 1)
    with ExitStack() as stack:
        if two_stage == "True":
            from batch_predictions.models.recommender import recommender_selection

            no_gate: dict[str, Any] = {
                "COMBINED_CANDIDATES": ("two_stage",),
                "_passes": lambda gains: True,
            }
            stack.enter_context(patch.multiple(recommender_selection, **no_gate))
        counts = FUNCTIONS[step](Step(settings, Warehouse.of(settings), day, models.split(",")))
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
