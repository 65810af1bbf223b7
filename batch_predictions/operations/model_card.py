"""The card of a model: its data, decision, candidates, realized metrics and drift."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, TypeAlias

from batch_predictions.inference.base import BatchPrediction
from batch_predictions.models.model_store import ModelError, ModelManifest, ModelStore
from batch_predictions.models.training import Training, trainings
from batch_predictions.settings import Settings
from batch_predictions.tables.discovery import instances
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.reporting import markdown

Row: TypeAlias = dict[str, Any]
SHOWN_DECISIONS = 5
SHOWN_DRIFT = 5
_GAIN = "_gain"
"""End of the names of metrics that are differences from the best baseline."""


def model_card(settings: Settings, name: str, day: dt.date | None = None) -> str:
    """The card of the version of a model that serves on a day, as Markdown.

    Args:
        settings: of the home, whose declarations are loaded.
        name: of the model.
        day: as of the end of which it serves; None: the newest version.

    Raises:
        ModelError: no version of the model serves on that day.
    """
    models, warehouse, training = ModelStore.of(settings), Warehouse.of(settings), trainings()[name]
    day = day or dt.date.max
    version = models.version_of(name, day)
    decisions = [d for d in models.decisions(name) if d.effective_from <= day]
    if version is None or not decisions:
        raise ModelError(f"no version of {name} serves yet: `batch-predictions run` trains it")
    manifest = models.manifest(name, version)
    predictions = [
        p.table.qualified for p in instances(BatchPrediction, "predictions/*.py") if p.model == name
    ]
    sections = {
        "Decision": decisions[-1].why,
        "Data": _data(training, settings, manifest),
        "Candidates on the hold-out": _candidates(warehouse, manifest),
        "Realized metrics": _realized(warehouse, name, day, is_part=False),
        "Realized metrics by part": _realized(warehouse, name, day, is_part=True),
        "Backtest": _backtest(warehouse, name),
        f"Drift of {', '.join(predictions) or 'predictions'}": _drift(warehouse, predictions, day),
        "Earlier decisions": markdown(
            ["serves from", "version", "decision"],
            [(d.effective_from, d.version, d.decision) for d in decisions[-SHOWN_DECISIONS:][::-1]],
        ),
    }
    texts = [f"## {title}\n\n{text}" for title, text in sections.items()]
    serves = f"`{version}` ({manifest.candidate}) serves since {decisions[-1].effective_from}."
    head = f"# {name}\n\n{training.description}\n\n{serves}"
    return "\n\n".join([head, *texts]) + "\n"


def _data(training: Training, settings: Settings, manifest: ModelManifest) -> str:
    tables = ", ".join(table.qualified for table in (*training.tables, *training.extra_tables))
    days, last = training.history_days(settings), manifest.trained_through
    first = last - dt.timedelta(days=days - 1)
    parameters = sorted(manifest.parameters.items())
    return (
        f"Rows of {tables}, from {first} through {last} at most ({days} days). Hash of the rows: "
        f"`{manifest.data_version}`.\n\n{markdown(['parameter', 'value'], parameters)}"
    )


def _candidates(warehouse: Warehouse, manifest: ModelManifest) -> str:
    """Gains over the best baseline with their intervals, then every metric of every candidate."""
    rows: list[Row] = warehouse.query(
        "select candidate, metric, value, lower, upper, n from evaluation.model_metrics "
        "where model = $model and trained_through = $through::DATE order by metric, candidate",
        {"model": manifest.model, "through": manifest.trained_through},
    ).to_pylist()
    gains = [row for row in rows if row["metric"].endswith(_GAIN)]
    values = {(row["candidate"], row["metric"]): row["value"] for row in rows if row not in gains}
    names = sorted({metric for _, metric in values})
    table = [
        (
            f"**{candidate}**" if candidate == manifest.candidate else candidate,
            *(values.get((candidate, name)) for name in names),
        )
        for candidate in sorted({candidate for candidate, _ in values})
    ]
    return f"{_with_intervals(gains)}\n\n{markdown(['candidate', *names], table)}"


def _realized(warehouse: Warehouse, name: str, day: dt.date, *, is_part: bool) -> str:
    """The newest realized metrics, of everybody or by part: those have a colon in their names."""
    rows = warehouse.query(
        """select date, metric, value, lower, upper, n from evaluation.realized_metrics
        where model = $model and date <= $day::DATE and contains(metric, ':') = $is_part
        qualify row_number() over (partition by metric order by date desc) = 1 order by metric""",
        {"model": name, "day": day, "is_part": is_part},
    ).to_pylist()
    return _with_intervals(rows)


def _backtest(warehouse: Warehouse, name: str) -> str:
    rows = warehouse.query(
        """select metric, count(*) as weeks, avg(value) as mean, min(value) as lowest,
            max(value) as highest
        from evaluation.backtests where model = $model and settings = 'own' and period = 'after'
        group by metric order by metric""",
        {"model": name},
    ).to_pylist()
    return _table(rows)


def _drift(warehouse: Warehouse, predictions: Sequence[str], day: dt.date) -> str:
    """The columns of the predictions that differ most from those of the training's last day."""
    rows = warehouse.query(
        """select date, table_name || '.' || column_name as "column", value as psi, reference
        from evaluation.drift where list_contains($tables::VARCHAR[], table_name)
            and statistic = 'psi' and date = (
                select max(date) from evaluation.drift where date <= $day::DATE)
        order by value desc, "column" limit $shown""",
        {"tables": list(predictions), "day": day, "shown": SHOWN_DRIFT},
    ).to_pylist()
    return _table(rows)


def _with_intervals(rows: Sequence[Row]) -> str:
    """Rows with the interval in one cell."""
    return _table(
        [
            {
                **{key: row[key] for key in row if key not in ("lower", "upper", "n")},
                "95 % interval": (
                    "" if row["lower"] is None else f"{row['lower']:.4g} to {row['upper']:.4g}"
                ),
                "n": row["n"],
            }
            for row in rows
        ]
    )


def _table(rows: Sequence[Row]) -> str:
    if not rows:
        return "Nothing is known yet."
    return markdown([*rows[0]], [tuple(row.values()) for row in rows])
