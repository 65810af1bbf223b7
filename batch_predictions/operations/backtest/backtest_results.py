"""Results of backtests: their tables, metrics over all weeks, and settings side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from batch_predictions.operations.backtest.week_evaluation import AFTER
from batch_predictions.tables import BACKTEST_DECISIONS, BACKTESTS, Table
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.arrow_rows import arrow_rows

MIN_WEEKS = 3
"""Weeks from which on a mean difference has an interval."""


def write_backtest(
    warehouse: Warehouse, rows: Sequence[dict[str, Any]], decisions: Sequence[dict[str, Any]]
) -> None:
    """Replaces evaluation.backtests and evaluation.backtest_decisions.

    Args:
        warehouse: of the home.
        rows: of all weeks, with the columns of the table.
        decisions: of all weeks.
    """
    for table, table_rows in ((BACKTESTS, rows), (BACKTEST_DECISIONS, decisions)):
        _replace(warehouse, table, table_rows)


def _replace(warehouse: Warehouse, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    by_week: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_week[str(row["week"])].append(row)
    for week, of_week in by_week.items():
        warehouse.replace_partition(table, week, arrow_rows(table, of_week))
    for week in {*warehouse.partitions(table)} - {*by_week}:
        warehouse.drop_partition(table, week)


def summarize(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Summarizes each metric over all weeks: number of weeks, mean, lowest and highest value.

    Args:
        rows: with the columns of evaluation.backtests.
    """
    values: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in rows:
        key = ("settings", "period", "model", "metric", "candidate")
        values[tuple(row[name] for name in key)].append(row["value"])
    return [
        {
            "settings": settings,
            "period": period,
            "model": model,
            "metric": metric,
            "candidate": candidate,
            "weeks": len(of_weeks),
            "mean": float(np.mean(of_weeks)),
            "lowest": min(of_weeks),
            "highest": max(of_weeks),
        }
        for (settings, period, model, metric, candidate), of_weeks in sorted(values.items())
    ]


def compare(
    rows: Sequence[dict[str, Any]], baseline: str, variant: str
) -> Iterator[dict[str, Any]]:
    """Differences of the metrics after each week between two settings, paired by week.

    Args:
        rows: with the columns of evaluation.backtests.
        baseline: name of the settings that are subtracted.
        variant: name of the settings that are compared with them.

    Yields:
        Model, metric, number of weeks, both means, and the mean difference with its 95 % interval
        (Student's t over weeks, which are taken as independent; none for fewer than three weeks).
    """
    from scipy.stats import t

    values: dict[tuple[str, str], dict[str, dict[str, float]]] = defaultdict(dict)
    for row in rows:
        if row["period"] == AFTER:
            by_settings = values[row["model"], row["metric"]]
            by_settings.setdefault(row["settings"], {})[str(row["week"])] = row["value"]
    for (model, metric), by_settings in sorted(values.items()):
        weeks = sorted({*by_settings.get(baseline, {})} & {*by_settings.get(variant, {})})
        if not weeks:
            continue
        first, second = (
            np.array([by_settings[name][week] for week in weeks]) for name in (baseline, variant)
        )
        difference = second - first
        half = None
        if len(weeks) >= MIN_WEEKS:
            error = difference.std(ddof=1) / np.sqrt(len(weeks))
            half = float(t.ppf(0.975, len(weeks) - 1) * error)
        mean = float(difference.mean())
        yield {
            "model": model,
            "metric": metric,
            "weeks": len(weeks),
            "own": float(first.mean()),
            "against": float(second.mean()),
            "difference": mean,
            "lower": None if half is None else mean - half,
            "upper": None if half is None else mean + half,
        }
