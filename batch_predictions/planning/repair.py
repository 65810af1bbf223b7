"""Damaged files are moved aside, and what they had is made again.

Raw partitions are read from the source again, derived ones are computed again, models are trained
again. What is still to do is kept in `<home>/damaged/pending.json` until it is done, so that
nothing is forgotten if a process dies in between.
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from batch_predictions.core.durability import atomic_write, fsync_folder
from batch_predictions.core.home import HomeError
from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.training import restore_log
from batch_predictions.settings import Settings
from batch_predictions.sources.base import INGESTED_TABLES
from batch_predictions.sources.rows.ingest_log import update_ingest_log
from batch_predictions.tables import (
    EXCLUSIONS,
    MODEL_METRICS,
    PROMOTIONS_LOG,
    QUARANTINE,
    TABLES,
    Table,
    week_of,
)
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.delta_tables import tables_of
from batch_predictions.warehouse.integrity import DamagedFile, find_damaged

FOLDER = "damaged"
"""Folder in the home to which damaged files are moved."""

Lost = tuple[str, tuple[tuple[str, str], ...]]
"""A table's qualified name, and the values of the folders of the file that it lost."""
MODEL = "model"
"""In place of a table's name: a version of a model."""


@dataclass
class Repair:
    """The partitions, trainings and log rows to make again after damaged files were moved aside.

    Attributes:
        days: days of raw tables to ingest.
        weeks_ahead: weeks of raw tables to ingest.
        assets: by partition of derived tables, paths of assets to materialize.
        trainings: by Monday, models to train.
        logs: rows of the log of decisions to write again: model, trained_through, decision.
    """

    days: set[str] = field(default_factory=set)
    weeks_ahead: set[str] = field(default_factory=set)
    assets: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)
    trainings: dict[dt.date, set[str]] = field(default_factory=dict)
    logs: list[dict[str, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        parts = (self.days, self.weeks_ahead, self.assets, self.trainings, self.logs)
        return any(parts)


def move_damaged_aside(settings: Settings, share_bytes: int = 0) -> list[DamagedFile]:
    """Moves damaged files of the warehouse to `<home>/damaged`; the next run makes them again.

    Args:
        settings: of the home, whose lock the caller holds.
        share_bytes: of the files that have not changed, those are examined whose turn it is, up to
            so many bytes.
    """
    damaged = find_damaged(Warehouse.of(settings), share_bytes=share_bytes)
    if damaged:
        # Before they are moved: a file that is still there when this process dies is found again.
        add_pending(settings, [lost_of(file) for file in damaged])
        for file in damaged:
            move_aside(settings, file.path)
    return damaged


def lost_of(file: DamagedFile) -> Lost:
    """Identifies the rows of a damaged file by its table and its partition values."""
    return file.table.qualified, tuple(sorted(file.values.items()))


def move_broken_models_aside(settings: Settings, days: Sequence[dt.date]) -> list[str]:
    """Moves versions of models that serve one of the days and are damaged or missing.

    Returns:
        The versions; the next call of `read_repair` has their trainings.
    """
    models = ModelStore.of(settings)
    broken = []
    for model in models.models():
        versions = {version for day in days if (version := models.version_of(model, day))}
        for version in sorted(versions):
            if models.is_intact(model, version):
                continue
            broken.append(version)
            add_pending(settings, [(MODEL, (("model", model), ("version", version)))])
            move_aside(settings, models.folder(model, version))
    return broken


def begin_repair(settings: Settings, warehouse: Warehouse, days: Sequence[dt.date]) -> list[str]:
    """Moves damaged models that serve days aside, and writes lost rows of the log of decisions.

    Returns:
        What was done, a line each; the trainings are in the next `read_repair`.
    """
    lines = [
        f"{version} was damaged and is moved aside"
        for version in move_broken_models_aside(settings, days)
    ]
    for part in read_repair(settings).logs:
        restore_log(ModelStore.of(settings), warehouse, part)
        lines.append(f"the log of decisions of {part['model']} written again")
    return lines


def read_repair(settings: Settings) -> Repair:
    """Reads what the next run has to make again."""
    repair = Repair()
    for name, items in _read_pending(settings):
        values = dict(items)
        if name == MODEL:
            through = dt.date.fromisoformat(values["version"].removeprefix(values["model"])[1:11])
            repair.trainings.setdefault(week_of(through), set()).add(values["model"])
        elif name in TABLES:
            _add(repair, TABLES[name], values)
    return repair


def finish_repair(settings: Settings, failed: Iterable[str], begun: float | None = None) -> None:
    """Forgets what was made again; partitions that could not be made stay.

    Args:
        settings: of the home.
        failed: keys of partitions.
        begun: when the runs began that made it, in seconds since the epoch. What was lost since
            stays as long as it is not there. None: the home's lock was held, so nothing was.
    """
    keys, pending = set(failed), _read_pending(settings)
    is_newer = (
        begun is not None and bool(pending) and (_pending_path(settings).stat().st_mtime >= begun)
    )
    left = [
        lost
        for lost in pending
        if keys & {value for _, value in lost[1]} or (is_newer and not _is_there(settings, lost))
    ]
    _write_pending(settings, left)


def _is_there(settings: Settings, lost: Lost) -> bool:
    """Returns whether the home has a file or model again."""
    name, values = lost[0], dict(lost[1])
    if name == MODEL:
        return ModelStore.of(settings).folder(values["model"], values["version"]).exists()
    folder = Warehouse.of(settings).folder.joinpath(*name.split("."))
    parts = {f"{key}={value}" for key, value in values.items()}
    return any(parts <= {*path.parts} for path in folder.rglob("data.parquet"))


def _add(repair: Repair, table: Table, values: dict[str, str]) -> None:
    """Adds to a repair whatever makes the rows of a lost file again."""
    raw = _raw_table(table, values)
    key = values.get("date") or values.get("week")
    if raw is not None:
        if raw.partition == "week":
            repair.weeks_ahead.update([key] if key else [])
        elif raw.partition and key:
            repair.days.add(key)
    elif table == PROMOTIONS_LOG:
        repair.logs.append(values)
    elif table == MODEL_METRICS:
        week = week_of(as_date(values["trained_through"]))
        repair.trainings.setdefault(week, set()).add(values["model"])
    elif key is not None:
        name = values["table_name"] if table == EXCLUSIONS else table.name
        repair.assets.setdefault(key, set()).add((table.schema, name))


def _raw_table(table: Table, values: dict[str, str]) -> Table | None:
    """The raw table that is ingested again for a lost file; None for a file of another stage."""
    if table == QUARANTINE:
        return {raw.name: raw for raw in INGESTED_TABLES}.get(values["table_name"])
    return table if table in INGESTED_TABLES else None


def _forget_ingest(settings: Settings, table: Table, key: str | None) -> None:
    """Marks a partition as not ingested, or the whole snapshot if `key` is None."""
    with update_ingest_log(settings.home, table) as log:
        if table.partition and key:
            log.days.pop(key, None)
        else:
            log.as_of = None
            log.days.clear()


def move_aside(settings: Settings, path: Path) -> None:
    """Moves a file or folder of the home, if it exists, to `<home>/damaged`.

    The file of a bucket's table stays in the bucket as part of older versions.
    """
    if not path.exists():
        return
    warehouse = Warehouse.of(settings)
    if path.name == "data.parquet" and tables_of(settings.home) is not None:
        schema, name = path.relative_to(warehouse.folder).parts[:2]
        warehouse.remove_files(TABLES[f"{schema}.{name}"], [path])
        return
    target = settings.home / FOLDER / path.absolute().relative_to(settings.home.absolute())
    number = 1
    while target.exists():
        target = target.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(path, target)
    fsync_folder(path.parent)


def add_pending(settings: Settings, lost: Iterable[Lost]) -> None:
    """Records rows for the next run to make again, before their damaged files are moved."""
    lost = list(lost)
    _write_pending(settings, [*_read_pending(settings), *lost])
    for name, items in lost:
        values = dict(items)
        raw = _raw_table(TABLES[name], values) if name in TABLES else None
        if raw is not None:
            _forget_ingest(settings, raw, values.get("date") or values.get("week"))


def _pending_path(settings: Settings) -> Path:
    return settings.home / FOLDER / "pending.json"


def _read_pending(settings: Settings) -> list[Lost]:
    path = _pending_path(settings)
    if not path.exists():
        return []
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [(name, tuple(sorted(values.items()))) for name, values in entries]
    except (ValueError, TypeError, AttributeError) as error:
        raise HomeError(
            f"{path} cannot be read: remove it, and materialize again what is missing in "
            f"{path.parent}"
        ) from error


def _write_pending(settings: Settings, pending: Iterable[Lost]) -> None:
    path = _pending_path(settings)
    entries = [[name, dict(values)] for name, values in dict.fromkeys(pending)]
    if entries:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps(entries, indent=1))
    else:
        path.unlink(missing_ok=True)
