"""A realized metric, declared: what earlier predictions are worth, seen at the end of a day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from batch_predictions.models.common.bootstrap import Row
from batch_predictions.settings import Settings
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse


@dataclass(frozen=True)
class RealizedMetric:
    """Compares earlier predictions with what happened, once a day.

    Attributes:
        compute: rows of `evaluation.realized_metrics` as of the end of a day: model, metric, value,
            lower, upper, n. Reads nothing after that day; a row whose value is None is left out.
        tables: tables that it reads, for lineage; days that were never made are no error.
    """

    compute: Callable[[Warehouse, Settings, dt.date], list[Row]]
    tables: tuple[Table, ...]
