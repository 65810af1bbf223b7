"""Evaluates the predictions of a past week on the rows that came after it."""

from __future__ import annotations

import datetime as dt
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from batch_predictions.evaluation.assets import compute_metrics
from batch_predictions.evaluation.realized_metric import RealizedMetric
from batch_predictions.operations.backtest.home_run import Progress
from batch_predictions.operations.backtest.past_weeks import PastWeeks, partition_as_of
from batch_predictions.operations.backtest.trainings_ahead import adopt_trainings, train_ahead
from batch_predictions.planning.declarations import queries_of
from batch_predictions.settings import Settings
from batch_predictions.sources.shrinkage import newest_ingested_day
from batch_predictions.tables import TABLES, week_of
from batch_predictions.tables.discovery import instances
from batch_predictions.warehouse import Warehouse

HOLD_OUT, AFTER = "hold_out", "after"
"""Periods in which candidates are evaluated: before the end of the week, and after it."""
SERVED = "served"
"""Candidate of the rows after the week: the one that the training chose."""
_AVERAGED_MODELS = {"replenishment"}
"""Models whose metrics differ by day, since orders end by their lead times: days are averaged."""


def run_and_evaluate(
    weeks: PastWeeks, ends: Sequence[dt.date], progress: Progress, workers: int = 1
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Runs the weeks that have not been run, and evaluates all of them.

    Args:
        weeks: of one's own settings, or of others.
        ends: Sundays, oldest first.
        progress: receives lines.
        workers: weeks that are trained at once.

    Returns:
        Rows of evaluation.backtests and of evaluation.backtest_decisions, and what failed: week,
        settings, name of the table or model, and reason.

    Raises:
        BacktestError: a week could not be run.
    """
    through = newest_ingested_day(weeks.settings.home)
    assert through is not None
    rows: list[dict[str, Any]] = []
    decisions: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    due = [end for end in ends if weeks.is_due(end)]
    for place, end in enumerate(ends):
        title = f"{weeks.name}, week {place + 1} of {len(ends)}"
        if end in due:
            progress(f"{title}, {end}: running")
            adopt_trainings(weeks, end)
            weeks.run_week(end, progress)
        if due[:1] == [end]:
            train_ahead(weeks, due[1:], workers, progress)
        week = weeks.week(end)
        assert week is not None
        progress(f"{title}, {end}: evaluating")
        names = {"week": week_of(end), "settings": weeks.name}
        failures += [{**names, "name": name, "why": why} for name, why in week["failed"].items()]
        rows += [{**names, "period": HOLD_OUT, **row} for row in week["hold_out"]]
        after = evaluate_week(weeks, end, through)
        rows += [{**names, "period": AFTER, **row} for row in after]
        decisions += [{**names, **row} for row in week["decisions"]]
    for home in weeks.workers():
        shutil.rmtree(home)
    return rows, decisions, failures


def evaluate_week(weeks: PastWeeks, sunday: dt.date, through: dt.date) -> list[dict[str, Any]]:
    """Metrics of the predictions of a Sunday: the same as those of a night, from day to day.

    Args:
        weeks: where the predictions are.
        sunday: as of which they were made.
        through: last day whose raw rows the home has.

    Returns:
        Rows with model, candidate, metric, value, lower, upper and n: of the newest day that has
        the metric. Those of orders are the mean of all days, weighted by n, without an interval.
    """
    with weeks.as_run() as (settings, _):
        folder = weeks.home / "evaluated"
        _link(weeks, sunday, folder)
        evaluated = settings.model_copy(update={"home": folder})
        warehouse = Warehouse.of(evaluated)
        metrics = instances(RealizedMetric, "evaluation/*.py")
        last = min(through, sunday + dt.timedelta(days=longest_window(settings)))
        days = (sunday + dt.timedelta(days=n + 1) for n in range((last - sunday).days))
        rows = [
            row
            for day in days
            for row in compute_metrics(metrics, warehouse, evaluated, day).to_pylist()
        ]
        shutil.rmtree(folder)
    return list(_over_days(rows))


def longest_window(settings: Settings) -> int:
    """Days after a prediction until the last metric of it is known."""
    queries = (query.starts_in + query.days for query in queries_of(settings))
    # Reviews are compared after a week.
    return max(settings.churn.horizon_days, settings.demand.horizon, *queries, 7)


def _link(weeks: PastWeeks, sunday: dt.date, folder: Path) -> None:
    """A home with the raw rows of all days and the predictions of one, so that none is mixed."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "warehouse").mkdir(parents=True)
    raw = Warehouse.of(weeks.settings).folder / "raw"
    (folder / "warehouse" / "raw").symlink_to(raw, target_is_directory=True)
    shutil.copy2(weeks.home / "state.yaml", folder)
    if (weeks.home / "models").is_dir():
        (folder / "models").symlink_to(weeks.home / "models", target_is_directory=True)
    for table in TABLES.values():
        if table.schema not in ("features", "predictions") or not table.partition:
            continue
        partition = f"{table.partition}={partition_as_of(table, sunday)}"
        place = Path("warehouse") / table.schema / table.name / partition
        if (weeks.home / place).is_dir():
            shutil.copytree(weeks.home / place, folder / place)


def _over_days(rows: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """One row for each metric: the newest, or the mean of days with rows of their own."""
    by_metric: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_metric[row["model"], row["metric"]].append(row)
    for (model, metric), of_days in sorted(by_metric.items()):
        name = {"model": model, "candidate": SERVED, "metric": metric}
        if model in _AVERAGED_MODELS and len(of_days) > 1:
            mean = {"value": _mean(of_days), "lower": None, "upper": None, "n": _total(of_days)}
            yield name | mean
        else:
            yield name | {key: of_days[-1][key] for key in ("value", "lower", "upper", "n")}


def _mean(rows: Sequence[dict[str, Any]]) -> float:
    """The mean of days, weighted by what was evaluated on each."""
    if not _total(rows):
        return float(sum(row["value"] for row in rows) / len(rows))
    return float(sum(row["value"] * row["n"] for row in rows) / _total(rows))


def _total(rows: Sequence[dict[str, Any]]) -> int:
    return sum(row["n"] or 0 for row in rows)
