"""What came of earlier predictions, as a Dagster asset: `evaluation/realized_metrics`."""

# No `from __future__ import annotations`: Dagster reads the type of `context` itself.
import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING

import dagster as dg
import pyarrow as pa

from batch_predictions.evaluation import audiences
from batch_predictions.models.common.ranking_metrics import Row
from batch_predictions.partitions import daily
from batch_predictions.reporting import OWNERS, new_axes, record_materializations, table_metadata
from batch_predictions.settings import Settings
from batch_predictions.tables import (
    CAMPAIGN_EVENTS,
    CHURN_SCORES,
    INTERACTIONS,
    PROMOTION_AUDIENCE,
    REALIZED_METRICS,
    RETENTION_AUDIENCE,
)
from batch_predictions.warehouse import Warehouse, as_date

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Measure = Callable[[Warehouse, Settings, dt.date], list[Row]]
MEASURES: tuple[Measure, ...] = (audiences.churn, audiences.retention, audiences.promotions)
"""What is measured every day; a further use case adds its own."""

_SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("metric", pa.string()),
        *((name, pa.float64()) for name in ("value", "lower", "upper")),
        ("n", pa.int64()),
    ]
)


def measured(warehouse: Warehouse, settings: Settings, day: dt.date) -> pa.Table:
    """Everything that can be measured by the end of a day."""
    rows = [row for measure in MEASURES for row in measure(warehouse, settings, day)]
    return pa.Table.from_pylist([dict(row) for row in rows if row["value"] is not None], _SCHEMA)


def plot(warehouse: Warehouse, day: str) -> "Figure | None":
    """The differences between contacted and held out, and shares of redeemers, with intervals."""
    rows = warehouse.query(
        """select model || ' ' || metric as name, value, lower, upper
        from evaluation.realized_metrics where date = $date and value between -1 and 1
        and lower is not null order by model, metric limit 30""",
        {"date": as_date(day)},
    ).to_pylist()
    if not rows:
        return None
    figure, ax = new_axes(
        f"What came of earlier predictions, seen on {day}", height=1 + len(rows) / 4
    )
    for place, row in enumerate(reversed(rows)):
        ax.plot([row["lower"], row["upper"]], [place, place], color="#bab0ac", linewidth=2)
        ax.plot(row["value"], place, "o", color="#4c78a8", markersize=4)
    ax.axvline(0, color="#333333", linewidth=0.6)
    ax.set_yticks(range(len(rows)), [row["name"] for row in reversed(rows)])
    return figure


@dg.asset(
    key_prefix="evaluation",
    description=REALIZED_METRICS.description,
    group_name="evaluation",
    kinds={"duckdb", "parquet"},
    owners=OWNERS,
    partitions_def=daily,
    backfill_policy=dg.BackfillPolicy.single_run(),
    # Earlier days of these are read, as far as there are any: none of them is required.
    deps=[
        dg.AssetKey([table.schema, table.name])
        for table in (
            INTERACTIONS,
            CAMPAIGN_EVENTS,
            CHURN_SCORES,
            RETENTION_AUDIENCE,
            PROMOTION_AUDIENCE,
        )
    ],
    metadata=table_metadata(REALIZED_METRICS),
)
def realized_metrics(
    context: dg.AssetExecutionContext,
    warehouse: Warehouse,
    settings: dg.ResourceParam[Settings],
) -> None:
    """One row per day, model and metric."""
    written = {
        day: warehouse.replace_partition(
            REALIZED_METRICS, day, measured(warehouse, settings, as_date(day))
        )
        for day in context.partition_keys
    }
    record_materializations(context, warehouse, written, plot=lambda: plot(warehouse, max(written)))
