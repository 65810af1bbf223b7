"""Declares realized metrics: earlier predictions compared with what happened since."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from batch_predictions.models.common.intervals import Interval, Row, metric_row
from batch_predictions.settings import Settings
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse


@dataclass(frozen=True)
class RealizedMetric:
    """Declares realized metrics at the top level of a module.

    The module is in `evaluation/`, or in a package that the setting `plugins` names.

    Attributes:
        compute: returns rows of `evaluation.realized_metrics` (see `realized_row`) as of the end of
            a day. It must not read anything after that day. Rows without a value are dropped.
        tables: tables that it reads, for lineage. Missing partitions must not be an error.
    """

    compute: Callable[[Warehouse, Settings, dt.date], list[Row]]
    tables: tuple[Table, ...]


def realized_row(model: str, metric: str, interval: Interval) -> Row:
    """Returns a row of `evaluation.realized_metrics`: model, metric, value, lower, upper, n.

    Args:
        model: whose predictions are measured.
        metric: name of the metric.
        interval: its value with the 95 % interval.
    """
    row = metric_row(model, metric, interval)
    row["model"] = row.pop("candidate")
    return row
