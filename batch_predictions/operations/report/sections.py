"""The sections of a report, each from tables of the warehouse as of a day."""

from __future__ import annotations

from collections.abc import Iterator

from batch_predictions.inference.base import BatchPrediction
from batch_predictions.models.model_store import ModelStore
from batch_predictions.operations.report.blocks import FigureBlock, ReportSection, TableBlock
from batch_predictions.operations.report.data_sections import rows_section
from batch_predictions.operations.report.details import DETAILS
from batch_predictions.operations.report.operations_sections import (
    cost_blocks,
    current_state,
    drift_block,
)
from batch_predictions.operations.report.quality_sections import (
    backtest_section,
    candidates_block,
    realized_blocks,
)
from batch_predictions.operations.report.report_home import ReportHome
from batch_predictions.operations.status import read_status
from batch_predictions.tables import Table
from batch_predictions.tables.discovery import instances
from batch_predictions.warehouse import as_date

_TITLES = {
    "recommendations": "Recommendations",
    "demographic_recommendations": "New users",
    "demand_forecasts": "Demand",
    "replenishment_orders": "Orders",
    "item_sentiments": "Reviews",
    "churn_scores": "Customers at risk",
    "retention_audience": "Customers to win back",
    "promotion_audience": "Campaigns",
}
"""Predictions with a section of their own, and its title, in the order of the report."""
_WITHOUT_SECTION = {"aspects", "lead_time_demand", "review_sentiments"}
"""Predictions that others are made from."""
_MODELS = {
    "recommendations": "recommender",
    "demand_forecasts": "demand",
    "item_sentiments": "sentiment",
    "replenishment_orders": "replenishment",
}
"""Model of the realized metrics of a table."""


def report_sections(home: ReportHome) -> Iterator[ReportSection]:
    """The sections of a report in their order; what the home does not predict has none."""
    made = [p for p in instances(BatchPrediction, "predictions/*.py") if home.partitions(p.table)]
    if home.records is not None and home.is_newest:
        yield current_state(read_status(home.settings, home.records))
    yield _coverage(home, made)
    by_name = {prediction.table.name: prediction for prediction in made}
    own = [p for name, p in by_name.items() if name not in {*_TITLES, *_WITHOUT_SECTION}]
    for name, title in _TITLES.items():
        if name in by_name:
            yield _prediction(home, by_name[name], title)
    for prediction in own:
        yield _prediction(home, prediction, prediction.table.name.replace("_", " ").capitalize())
    yield backtest_section(home)
    yield rows_section(home)
    yield ReportSection(
        "Operation",
        "What the predictions cost, and how far the newest day is from the training's rows.",
        [drift_block(home), *cost_blocks(home)],
    )


def _as_of(home: ReportHome, table: Table) -> str:
    """The newest partition of a table; a day before the report's is marked."""
    newest = home.partitions(table)[-1]
    if table.partition == "week":
        return f"week of {newest}"
    late = (home.day - as_date(newest)).days
    return f"{newest}, {late} day{'s' if late > 1 else ''} earlier" if late else newest


def _coverage(home: ReportHome, made: list[BatchPrediction]) -> ReportSection:
    rows = []
    for prediction in made:
        table, key = prediction.table, prediction.key[0]
        of_table = {"name": table.name, "partition": home.partitions(table)[-1]}
        [counts] = home.rows(
            f"select count(*) as n, count(distinct {key}) as keys from {table.qualified} "
            f"where {table.partition} = $partition::DATE",
            partition=of_table["partition"],
        )
        excluded = home.rows(
            "select reason, count(*) as n from predictions.exclusions "
            "where table_name = $name and date = $partition::DATE "
            "group by reason order by n desc, reason",
            **of_table,
        )
        rows.append(
            {
                "table": table.name,
                "as of": _as_of(home, table),
                "who or what": counts["keys"],
                "rows": counts["n"],
                "left out": sum(row["n"] for row in excluded),
                "most frequent reason": excluded[0]["reason"] if excluded else None,
            }
        )
    return ReportSection(
        "What is predicted, and for whom",
        "Whoever is left out has a reason in predictions.exclusions.",
        [
            TableBlock(
                "Rows of each table of predictions.",
                rows,
                "predictions.*, predictions.exclusions",
                "Nothing is predicted yet.",
            )
        ],
    )


def _prediction(home: ReportHome, prediction: BatchPrediction, title: str) -> ReportSection:
    table = prediction.table
    blocks: list[FigureBlock | TableBlock] = []
    if prediction.model:
        blocks.append(candidates_block(home, prediction.model))
    if prediction.plot is not None:
        figure = prediction.plot(home.warehouse, home.partitions(table)[-1])
        caption = f"{title}, {_as_of(home, table)}."
        missing = "Its rows are all alike, or too few."
        blocks.append(FigureBlock.of(caption, figure, table.qualified, missing=missing))
    blocks += realized_blocks(home, _MODELS.get(table.name))
    if table.name in DETAILS:
        blocks += DETAILS[table.name](home)
    return ReportSection(title, f"{table.description} {_decision(home, prediction.model)}", blocks)


def _decision(home: ReportHome, model: str | None) -> str:
    """Why the model serves, in the words of the training."""
    decisions = ModelStore.of(home.settings).decisions_by(model, home.day) if model else []
    if not decisions:
        return ""
    return f"Decision of {decisions[-1].effective_from}: {decisions[-1].why.rstrip('.')}."
