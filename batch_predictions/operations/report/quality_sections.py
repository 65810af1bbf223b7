"""The page Quality: which models serve, their metrics over time, changes, experiments, cards."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from batch_predictions.evaluation.metric_plots import METRIC_PLOTS, plot_metrics
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.models.model_card import ModelCard, model_card
from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.training import trainings
from batch_predictions.models.training_assets import plot_metric
from batch_predictions.operations.report.blocks import (
    FigureBlock,
    Link,
    ReportSection,
    TableBlock,
)
from batch_predictions.operations.report.report_home import ReportHome
from batch_predictions.settings import Settings
from batch_predictions.tables.discovery import instances

_BACKTEST_METRICS = (
    r"next_day_(hit_rate|ndcg)@10|wape:item:.*|coverage_80:item:.*|fill_rate|covered|auc|log_loss"
    r"|lift@10%|uplift.*|mae|coverage_80|precision|macro_f1"
)
"""Metrics of backtests that a report has; the others are in the table."""
_METRICS = {"demand": "wape"}
"""Metric of a model's figure, where it is not that of its gate."""
_MISSING = {"clicks_over_time": "Applications have posted no feedback (`POST /v1/events`)."}
"""Why a figure of metrics is empty, where it is not that its predictions are too new."""
MAX_CHANGES = 20
"""Newest decisions that are listed."""


def quality_sections(home: ReportHome) -> Iterator[ReportSection]:
    """The sections of the page Quality."""
    yield _serving_models(home)
    for model in dict.fromkeys(metric_plot.model for metric_plot in METRIC_PLOTS):
        blocks = [block for block in realized_blocks(home, model) if block.image]
        if blocks:
            yield ReportSection(_title(model), "Metrics of the newest 90 days.", blocks)
    yield _changes(home)
    yield _experiments(home)
    yield backtest_section(home)


def card_of_model(settings: Settings, name: str, day: dt.date | None = None) -> ModelCard:
    """The card of a model, with the drift of the tables that it makes.

    Args:
        settings: of the home, whose declarations are loaded.
        name: of the model.
        day: as of the end of which it serves; None: the newest version.

    Raises:
        ModelError: no version of the model serves on that day.
    """
    predictions = instances(BatchPrediction, "predictions/*.py")
    tables = [p.table.qualified for p in predictions if p.model == name]
    return model_card(settings, trainings()[name], day, tables)


def card_sections(home: ReportHome, name: str) -> Iterator[ReportSection]:
    """The sections of the card of a model.

    Raises:
        ModelError: no version of the model serves as of the report's day.
    """
    card = card_of_model(home.settings, name, home.day)
    lead = f"{card.description} {card.serves}"
    yield ReportSection("What it predicts", lead, [candidates_block(home, name)])
    for section in card.sections:
        blocks = [TableBlock("", section.rows, section.source)] if section.rows else []
        lead = section.text or ("" if blocks else "Nothing is known yet.")
        yield ReportSection(section.title, lead, blocks)
        if section.title == "Realized metrics" and (figures := realized_blocks(home, name)):
            yield ReportSection("Realized metrics over time", "", figures)


def _title(model: str) -> str:
    return model.replace("_", " ").capitalize()


def _serving_models(home: ReportHome) -> ReportSection:
    models, rows = ModelStore.of(home.settings), []
    for name in models.models():
        version = models.version_of(name, home.day)
        decisions = models.decisions_by(name, home.day)
        if version and decisions:
            manifest = models.manifest(name, version)
            rows.append(
                {
                    "model": Link(name, f"models/{name}") if name in trainings() else name,
                    "serves": manifest.candidate,
                    "trained through": manifest.trained_through.isoformat(),
                    "newest decision": decisions[-1].decision,
                    "of": decisions[-1].effective_from.isoformat(),
                }
            )
    block = TableBlock(
        "The version of each model that serves.",
        rows,
        "evaluation.promotions_log",
        "No model serves yet: `batch-predictions run` trains them.",
    )
    return ReportSection("Models", "A model's card has its data, candidates and metrics.", [block])


def realized_blocks(home: ReportHome, model: str | None) -> list[FigureBlock]:
    """The figures of a model's realized metrics over time, each with its newest values."""
    blocks = []
    for metric_plot in METRIC_PLOTS:
        if metric_plot.model == model:
            rows = home.rows(
                """select metric, date, value, lower, upper, n from evaluation.realized_metrics
                where model = $model and date <= $day::DATE
                    and list_contains($metrics::VARCHAR[], metric)
                qualify row_number() over (partition by metric order by date desc) = 1
                order by list_position($metrics::VARCHAR[], metric)""",
                model=model,
                metrics=list(metric_plot.metrics),
            )
            shown = [
                {**row, "metric": metric_plot.metrics[row["metric"]], "date": str(row["date"])}
                for row in rows
            ]
            figure = plot_metrics(home.warehouse, metric_plot, str(home.day))
            caption = f"{metric_plot.title}, up to {home.day}."
            missing = _MISSING.get(metric_plot.name, "No prediction has been over for long enough.")
            source = "evaluation.realized_metrics"
            blocks.append(FigureBlock.of(caption, figure, source, shown, missing))
    return blocks


def _changes(home: ReportHome) -> ReportSection:
    rows = home.rows(
        """select trained_through::VARCHAR as "serves from", model, model_version as version,
            decision, why
        from evaluation.promotions_log where trained_through <= $day::DATE
        order by trained_through desc, decided_at desc, model limit $most""",
        most=MAX_CHANGES,
    )
    caption = f"The {MAX_CHANGES} newest decisions."
    block = TableBlock(caption, rows, "evaluation.promotions_log")
    return ReportSection("Changes of models", "A training proposes; its gate decides.", [block])


def _experiments(home: ReportHome) -> ReportSection:
    names = [*home.settings.serving.experiments]
    rows = home.rows(
        r"""select split_part(metric, ':', 2) as experiment, split_part(metric, ':', 1) as metric,
            nullif(split_part(metric, ':', 3), '') as users, value, lower, upper, n,
            date::VARCHAR as date
        from evaluation.realized_metrics
        where regexp_full_match(metric, '(click|purchase)_(rate|uplift|power):.*')
            and list_contains($names::VARCHAR[], split_part(metric, ':', 2))
            and date <= $day::DATE
        qualify row_number() over (partition by evaluation.realized_metrics.metric
            order by evaluation.realized_metrics.date desc) = 1
        order by all""",
        names=names,
    )
    block = TableBlock(
        "Newest rates, uplift and power of each experiment.",
        rows,
        "evaluation.realized_metrics",
        "No experiment has feedback yet; serving.experiments declares them.",
    )
    return ReportSection("Experiments", "A bucket of users against the users in none.", [block])


def backtest_section(home: ReportHome) -> ReportSection:
    """The metrics of past weeks that `batch-predictions backtest` ran."""
    rows = home.rows(
        """select model, metric, settings, count(*) as weeks, avg(value) as mean,
            min(value) as lowest, max(value) as highest
        from evaluation.backtests
        where period = 'after' and regexp_full_match(metric, $metrics)
        group by all order by model, metric, settings""",
        metrics=_BACKTEST_METRICS,
    )
    missing = (
        "None was run: `batch-predictions backtest` runs past weeks as if each were the newest."
    )
    block = TableBlock(
        "Main metrics of past weeks, on the days after each; evaluation.backtests has all.",
        rows,
        "evaluation.backtests",
        missing,
    )
    lead = "Past weeks, each of which was run without later rows." if rows else ""
    return ReportSection("Would it have worked?", lead, [block])


def candidates_block(home: ReportHome, model: str) -> FigureBlock:
    """The hold-out metric of candidates and baselines of the newest training of a model."""
    rows = home.rows(
        """select candidate, metric, value, lower, upper, n from evaluation.model_metrics
        where model = $model and trained_through = (
            select max(trained_through) from evaluation.model_metrics
            where model = $model and trained_through <= $day::DATE)
        order by candidate""",
        model=model,
    )
    if not rows:
        caption = "Candidates and baselines on the hold-out."
        return FigureBlock(caption, None, "", "No training has compared any yet.")
    models = ModelStore.of(home.settings)
    serving = models.version_of(model, home.day)
    candidate = models.manifest(model, serving).candidate if serving else None
    gates = (row["metric"] for row in rows if row["metric"].endswith("_gain"))
    metric = _METRICS.get(model) or min(gates, default="").removesuffix("_gain")
    is_lower = _is_lower_better(rows, metric)
    figure = plot_metric(rows, metric, candidate, lower_is_better=is_lower)
    better = "lower" if is_lower else "higher"
    caption = f"{metric} of candidates and baselines on the hold-out ({better} is better)."
    drawn = [
        {key: row[key] for key in ("candidate", "value", "lower", "upper", "n")}
        for row in rows
        if row["metric"] == metric
    ]
    return FigureBlock.of(caption, figure, "evaluation.model_metrics", drawn)


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
