"""The sections of a report, each from tables of the warehouse as of a day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from batch_predictions.evaluation.drift.drift_plots import plot_drift
from batch_predictions.evaluation.metric_plots import METRIC_PLOTS, plot_metrics
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.training_assets import plot_metric
from batch_predictions.operations.costs.cost_report import sum_costs
from batch_predictions.operations.report.blocks import FigureBlock, ReportSection, TableBlock
from batch_predictions.operations.report.details import DETAILS
from batch_predictions.operations.report.report_home import ReportHome
from batch_predictions.tables import Table
from batch_predictions.tables.discovery import instances

_BACKTEST_METRICS = (
    r"next_day_(hit_rate|ndcg)@10|wape:item:.*|coverage_80:item:.*|fill_rate|covered|auc|log_loss"
    r"|lift@10%|uplift.*|mae|coverage_80|precision"
)
"""Metrics of backtests that a report has; the others are in the table."""
DAYS = 28
"""Days up to the report's that its figures of data and costs have."""
MOST = 10
"""Rows of tables that are cut."""
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
_METRICS = {"demand": "wape"}
"""Metric of a model's figure, where it is not that of its gate."""
_MODELS = {
    "recommendations": "recommender",
    "demand_forecasts": "demand",
    "replenishment_orders": "replenishment",
}
"""Model of the realized metrics of a table."""


def report_sections(home: ReportHome) -> Iterator[ReportSection]:
    """The sections of a report in their order; what the home does not predict has none."""
    made = [p for p in instances(BatchPrediction, "predictions/*.py") if _newest(home, p.table)]
    yield _coverage(home, made)
    by_name = {prediction.table.name: prediction for prediction in made}
    own = [p for name, p in by_name.items() if name not in {*_TITLES, *_WITHOUT_SECTION}]
    for name, title in _TITLES.items():
        if name in by_name:
            yield _prediction(home, by_name[name], title)
    for prediction in own:
        yield _prediction(home, prediction, prediction.table.name.replace("_", " ").capitalize())
    yield _backtest(home)
    yield _data(home)
    yield _operation(home)


def _newest(home: ReportHome, table: Table) -> str | None:
    keys = [key for key in home.warehouse.partitions(table) if key <= str(home.day)]
    return max(keys, default=None)


def _coverage(home: ReportHome, made: list[BatchPrediction]) -> ReportSection:
    rows = []
    for prediction in made:
        table, key = prediction.table, prediction.key[0]
        of_table = {"name": table.name, "partition": _newest(home, table)}
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
                "as of": of_table["partition"],
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
            )
        ],
    )


def _prediction(home: ReportHome, prediction: BatchPrediction, title: str) -> ReportSection:
    table = prediction.table
    blocks: list[FigureBlock | TableBlock] = []
    if prediction.model:
        blocks.append(_candidates(home, prediction.model))
    newest = _newest(home, table)
    assert newest is not None
    if prediction.plot is not None:
        figure = prediction.plot(home.warehouse, newest)
        blocks.append(FigureBlock.of(f"As of {newest}.", figure, table.qualified))
    for metric_plot in METRIC_PLOTS:
        if metric_plot.model == _MODELS.get(table.name):
            figure = plot_metrics(home.warehouse, metric_plot, str(home.day))
            caption = f"{metric_plot.title}, up to {home.day}."
            blocks.append(FigureBlock.of(caption, figure, "evaluation.realized_metrics"))
    if table.name in DETAILS:
        blocks += DETAILS[table.name](home)
    return ReportSection(title, f"{table.description} {_decision(home, prediction.model)}", blocks)


def _decision(home: ReportHome, model: str | None) -> str:
    """Why the model serves, in the words of the training."""
    decisions = ModelStore.of(home.settings).decisions(model) if model else []
    known = [d for d in decisions if d.effective_from <= home.day]
    if not known:
        return ""
    return f"Model as of {known[-1].effective_from}: {known[-1].why.rstrip('.')}."


def _candidates(home: ReportHome, model: str) -> FigureBlock:
    rows = home.rows(
        """select candidate, metric, value, lower, upper, n from evaluation.model_metrics
        where model = $model and trained_through = (
            select max(trained_through) from evaluation.model_metrics
            where model = $model and trained_through <= $day::DATE)
        order by candidate""",
        model=model,
    )
    models = ModelStore.of(home.settings)
    serving = models.version_of(model, home.day)
    candidate = models.manifest(model, serving).candidate if serving else None
    gates = (row["metric"] for row in rows if row["metric"].endswith("_gain"))
    metric = _METRICS.get(model) or min(gates, default="").removesuffix("_gain")
    is_lower = _is_lower_better(rows, metric)
    figure = plot_metric(rows, metric, candidate, lower_is_better=is_lower)
    better = "lower" if is_lower else "higher"
    caption = f"{metric} of candidates and baselines on the hold-out ({better} is better)."
    return FigureBlock.of(caption, figure, "evaluation.model_metrics")


def _is_lower_better(rows: Sequence[Mapping[str, Any]], metric: str) -> bool:
    """Returns whether a gain over the best baseline means a lower value of a metric."""
    gains = {row["candidate"]: row["value"] for row in rows if row["metric"] == f"{metric}_gain"}
    values = {row["candidate"]: row["value"] for row in rows if row["metric"] == metric}
    baselines = [value for candidate, value in values.items() if candidate not in gains]
    if not (gains and baselines):
        return True
    candidate, gain = max(gains.items(), key=lambda item: abs(item[1]))
    lower = min(baselines) - values[candidate]
    higher = values[candidate] - max(baselines)
    return abs(lower - gain) <= abs(higher - gain)


def _backtest(home: ReportHome) -> ReportSection:
    rows = home.rows(
        """select model, metric, settings, count(*) as weeks, avg(value) as mean,
            min(value) as lowest, max(value) as highest
        from evaluation.backtests
        where period = 'after' and regexp_full_match(metric, $metrics)
        group by all order by model, metric, settings""",
        metrics=_BACKTEST_METRICS,
    )
    missing = "`batch-predictions backtest` runs past weeks as if each were the newest."
    block = TableBlock(
        "Main metrics of past weeks, on the days after each; evaluation.backtests has all.",
        rows,
        "evaluation.backtests",
        missing,
    )
    return ReportSection("Would it have worked?", "Each week was run without later rows.", [block])


def _data(home: ReportHome) -> ReportSection:
    first = home.day - dt.timedelta(days=DAYS - 1)
    counts = home.rows(
        """with days as (
            select unnest(range($first::DATE, $day::DATE + 1, interval 1 day))::DATE as date
        )
        select date, (select count(*) from raw.interactions where date = days.date)
            as interactions,
            (select count(*) from raw.reviews where date = days.date) as reviews
        from days order by date""",
        first=first,
    )
    refused = home.rows(
        """select table_name as "table", reason, count(*) as rows from raw.quarantine
        where date >= $first::DATE and date <= $day::DATE
        group by all order by rows desc, 1, 2 limit $most""",
        first=first,
        most=MOST,
    )
    empty = [str(row["date"]) for row in counts if not row["interactions"] + row["reviews"]]
    lead = f"Days without interactions and reviews in {DAYS} days: {', '.join(empty) or 'none'}."
    caption = f"Rows a day, {first} to {home.day}."
    return ReportSection(
        "Data",
        lead,
        [
            FigureBlock.of(caption, _plot_rows(counts), "raw.interactions, raw.reviews"),
            TableBlock(
                f"Refused rows, the {MOST} most frequent reasons.",
                refused,
                "raw.quarantine",
                "None was refused.",
            ),
        ],
    )


def _operation(home: ReportHome) -> ReportSection:
    first = home.day - dt.timedelta(days=DAYS - 1)
    costs = [
        {
            "made": row["asset"],
            "seconds": row["seconds"],
            "CPU seconds": row["cpu_seconds"],
            "cost": row["cost"],
        }
        for row in sum_costs(home.warehouse, first, home.day)[:MOST]
    ]
    figure = plot_drift(home.warehouse, str(home.day))
    return ReportSection(
        "Operation",
        "Drift is the difference of a day from the rows of the newest training.",
        [
            FigureBlock.of(f"Drift as of {home.day}.", figure, "evaluation.drift"),
            TableBlock(
                f"The {MOST} tables and models that took most in {DAYS} days.",
                costs,
                "evaluation.costs",
            ),
        ],
    )


def _plot_rows(counts: list[dict[str, Any]]) -> Any:
    """Rows a day as lines; None without any."""
    from batch_predictions.warehouse.plot_style import date_axis, legend_outside, new_axes

    if not any(row["interactions"] or row["reviews"] for row in counts):
        return None
    figure, ax = new_axes("Rows a day", y="rows")
    for name in ("interactions", "reviews"):
        values = [row[name] for row in counts]
        if any(values):
            ax.plot([row["date"] for row in counts], values, label=name)
    ax.set_ylim(bottom=0)
    date_axis(ax, [row["date"] for row in counts])
    legend_outside(ax)
    return figure
