"""The card of a model: its data, decision, candidates, realized metrics and drift."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from batch_predictions.models.model_store import ModelError, ModelManifest, ModelStore
from batch_predictions.models.training import Training
from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.reporting import markdown

Row: TypeAlias = dict[str, Any]
SHOWN_DECISIONS = 5
SHOWN_DRIFT = 5
_GAIN = "_gain"
"""End of the names of metrics that are differences from the best baseline."""
_UNKNOWN = "Nothing is known yet."


@dataclass(frozen=True)
class CardSection:
    """A section of a card: a paragraph, and rows with equal keys; either may be empty."""

    title: str
    text: str = ""
    rows: Sequence[Row] = ()
    source: str = ""


@dataclass(frozen=True)
class ModelCard:
    """The card of the version of a model that serves on a day.

    Attributes:
        name: of the model.
        description: what it predicts.
        serves: the version, its candidate, and since when it serves, in a sentence.
        sections: in their order.
    """

    name: str
    description: str
    serves: str
    sections: Sequence[CardSection]

    def as_markdown(self) -> str:
        """The card as a page of Markdown."""
        parts = [f"# {self.name}", self.description, self.serves]
        for section in self.sections:
            parts += [f"## {section.title}", section.text or ("" if section.rows else _UNKNOWN)]
            if section.rows:
                rows = [tuple(row.values()) for row in section.rows]
                parts.append(markdown([*section.rows[0]], rows))
        return "\n\n".join(part for part in parts if part) + "\n"


def model_card(
    settings: Settings,
    training: Training,
    day: dt.date | None = None,
    predictions: Sequence[str] = (),
) -> ModelCard:
    """The card of the version of a model that serves on a day.

    Args:
        settings: of the home.
        training: of the model.
        day: as of the end of which it serves; None: the newest version.
        predictions: tables that the model makes, whose drift is shown.

    Raises:
        ModelError: no version of the model serves on that day.
    """
    models, warehouse, name = ModelStore.of(settings), Warehouse.of(settings), training.name
    day = day or dt.date.max
    version = models.version_of(name, day)
    decisions = models.decisions_by(name, day)
    if version is None or not decisions:
        raise ModelError(f"no version of {name} serves yet: `batch-predictions run` trains it")
    manifest, newest = models.manifest(name, version), decisions[-1]
    gains, metrics = _candidates(warehouse, manifest)
    hold_out, realized = "evaluation.model_metrics", "evaluation.realized_metrics"
    decided = [
        {"serves from": d.effective_from, "version": d.version, "decision": d.decision}
        for d in decisions[-SHOWN_DECISIONS:][::-1]
    ]
    sections = [
        CardSection("Decision", newest.why),
        _data(training, settings, manifest),
        CardSection("Gains of candidates over the best baseline", "", gains, hold_out),
        CardSection("Candidates on the hold-out", "", metrics, hold_out),
        CardSection(
            "Realized metrics", "", _realized(warehouse, name, day, is_part=False), realized
        ),
        CardSection(
            "Realized metrics by part", "", _realized(warehouse, name, day, is_part=True), realized
        ),
        CardSection("Backtest", "", _backtest(warehouse, name), "evaluation.backtests"),
        CardSection("Earlier decisions", "", decided, "evaluation.promotions_log"),
    ]
    if predictions:
        title = f"Drift of {', '.join(predictions)}"
        drift = _drift(warehouse, predictions, day)
        sections.append(CardSection(title, "", drift, "evaluation.drift"))
    serves = f"`{version}` ({manifest.candidate}) serves since {newest.effective_from}."
    return ModelCard(name, training.description, serves, sections)


def _data(training: Training, settings: Settings, manifest: ModelManifest) -> CardSection:
    tables = ", ".join(table.qualified for table in (*training.tables, *training.extra_tables))
    days, last = training.history_days(settings), manifest.trained_through
    first = last - dt.timedelta(days=days - 1)
    text = (
        f"Rows of {tables}, from {first} through {last} at most ({days} days). Hash of the rows: "
        f"`{manifest.data_version}`."
    )
    parameters = sorted(manifest.parameters.items())
    return CardSection("Data", text, [{"parameter": name, "value": v} for name, v in parameters])


def _candidates(warehouse: Warehouse, manifest: ModelManifest) -> tuple[list[Row], list[Row]]:
    """Gains over the best baseline with their intervals, and every metric of every candidate."""
    rows: list[Row] = warehouse.query(
        "select candidate, metric, value, lower, upper, n from evaluation.model_metrics "
        "where model = $model and trained_through = $through::DATE order by metric, candidate",
        {"model": manifest.model, "through": manifest.trained_through},
    ).to_pylist()
    gains = [row for row in rows if row["metric"].endswith(_GAIN)]
    values = {(row["candidate"], row["metric"]): row["value"] for row in rows if row not in gains}
    names = sorted({metric for _, metric in values})
    metrics = [
        {
            "candidate": f"{candidate} (serves)" if candidate == manifest.candidate else candidate,
            **{name: values.get((candidate, name)) for name in names},
        }
        for candidate in sorted({candidate for candidate, _ in values})
    ]
    return [_with_interval(row) for row in gains], metrics


def _realized(warehouse: Warehouse, name: str, day: dt.date, *, is_part: bool) -> list[Row]:
    """The newest realized metrics, of everybody or by part: those have a colon in their names."""
    rows = warehouse.query(
        """select date, metric, value, lower, upper, n from evaluation.realized_metrics
        where model = $model and date <= $day::DATE and contains(metric, ':') = $is_part
        qualify row_number() over (partition by metric order by date desc) = 1 order by metric""",
        {"model": name, "day": day, "is_part": is_part},
    ).to_pylist()
    return [_with_interval(row) for row in rows]


def _backtest(warehouse: Warehouse, name: str) -> list[Row]:
    return warehouse.query(
        """select metric, count(*) as weeks, avg(value) as mean, min(value) as lowest,
            max(value) as highest
        from evaluation.backtests where model = $model and settings = 'own' and period = 'after'
        group by metric order by metric""",
        {"model": name},
    ).to_pylist()


def _drift(warehouse: Warehouse, predictions: Sequence[str], day: dt.date) -> list[Row]:
    """The columns of the predictions that differ most from those of the training's last day."""
    return warehouse.query(
        """select date, table_name || '.' || column_name as "column", value as psi, reference
        from evaluation.drift where list_contains($tables::VARCHAR[], table_name)
            and statistic = 'psi' and date = (
                select max(date) from evaluation.drift where date <= $day::DATE)
        order by value desc, "column" limit $shown""",
        {"tables": list(predictions), "day": day, "shown": SHOWN_DRIFT},
    ).to_pylist()


def _with_interval(row: Row) -> Row:
    """A row with the bounds of its value in one cell."""
    lower, upper = row["lower"], row["upper"]
    return {
        **{key: row[key] for key in row if key not in ("lower", "upper", "n")},
        "95 % interval": "" if lower is None else f"{lower:.4g} to {upper:.4g}",
        "n": row["n"],
    }
