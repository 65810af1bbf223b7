"""Examines every file of a home, and moves damaged ones aside where they can be made again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from batch_predictions.core.home import HomeError, read_state
from batch_predictions.core.read_only import StoreError
from batch_predictions.models.model_store import ModelStore
from batch_predictions.planning.repair import MODEL, Lost, add_pending, lost_of, move_aside
from batch_predictions.serving.release.verification import find_changed_tables
from batch_predictions.serving.store.store import Store
from batch_predictions.settings import Settings
from batch_predictions.sources.base import INGESTED_TABLES
from batch_predictions.sources.rows.ingest_log import IngestLogError, read_ingest_log
from batch_predictions.tables import MODEL_METRICS
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.delta_tables import tables_of
from batch_predictions.warehouse.integrity import find_damaged


@dataclass(frozen=True)
class Problem:
    """A damaged file of a home, and whether it can be made again.

    Attributes:
        path: the file, or the folder of a model's version.
        reason: why it cannot be used, and what to do if it cannot be made again.
        lost: what is made again if it is moved aside.
        is_repairable: whether it can be moved aside.
        is_lost: whether the bucket of the home has it no more.
    """

    path: Path
    reason: str
    lost: tuple[Lost, ...] = ()
    is_repairable: bool = True
    is_lost: bool = False

    def as_dict(self) -> dict[str, str]:
        """Returns the problem as a dictionary of JSON values."""
        return {"path": str(self.path), "reason": self.reason}

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def examine(
    settings: Settings, on_progress: Callable[[int, int], None] | None = None
) -> list[Problem]:
    """Reads every file of a home's warehouse, models, logs and stores.

    Args:
        settings: of the home.
        on_progress: called with the number of partitions read so far, and of all.
    """
    damaged = find_damaged(Warehouse.of(settings), thorough=True, on_progress=on_progress)
    return [
        *_state(settings),
        *(
            Problem(file.path, file.reason, (lost_of(file),), is_lost=file.is_lost)
            for file in damaged
        ),
        *_models(settings),
        *_ingest_logs(settings),
        *_databases(settings),
    ]


def repair_problems(settings: Settings, problems: Sequence[Problem]) -> dict[Problem, str]:
    """Moves repairable files to `<home>/damaged`; the next run makes again what they had.

    What the bucket of the home has lost is uploaded again, where this machine has a copy.

    Returns:
        What was done, moved or uploaded, by problem.
    """
    tables = tables_of(settings.home)
    done = {
        problem: "uploaded"
        for problem in problems
        if problem.is_lost and tables is not None and tables.restore(problem.path)
    }
    moved = [problem for problem in problems if problem.is_repairable and problem not in done]
    # Before they are moved: what is still there when this process dies is found again.
    add_pending(settings, [lost for problem in moved for lost in problem.lost])
    for problem in moved:
        for path in (problem.path, *_companions(problem.path)):
            move_aside(settings, path)
    return done | dict.fromkeys(moved, "moved")


def _companions(path: Path) -> list[Path]:
    """Files of an SQLite database besides its own."""
    files = (path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-shm"))
    return [file for file in files if file.exists()]


def _state(settings: Settings) -> Iterator[Problem]:
    try:
        read_state(settings.home)
    except HomeError as error:
        yield Problem(settings.home / "state.yaml", str(error))


def _models(settings: Settings) -> Iterator[Problem]:
    """Finds versions of models with damaged files, and decisions that cannot be read."""
    models = ModelStore.of(settings)
    for model in models.models():
        unreadable = list(_decisions(models, model))
        yield from unreadable
        served = set() if unreadable else {d.version for d in models.decisions(model)}
        for version in sorted({*models.version_folders(model), *served}):
            damaged = models.damaged_file(model, version)
            if damaged is None:
                continue
            lost: tuple[Lost, ...] = ()
            if version in served:
                lost = ((MODEL, (("model", model), ("version", version))),)
            reason = f"{damaged.name} is missing or has changed"
            yield Problem(models.folder(model, version), reason, lost)


def _decisions(models: ModelStore, model: str) -> Iterator[Problem]:
    """Finds unreadable decisions; a training's is made again by training the week again."""
    for path, reason in models.unreadable_decisions(model):
        day, kind, _ = path.name.split(".")
        if kind == "training":
            values = (("model", model), ("trained_through", day))
            yield Problem(path, reason, ((MODEL_METRICS.qualified, values),))
        else:
            yield Problem(
                path, f"{reason}; roll back again with `batch-predictions models rollback`"
            )


def _ingest_logs(settings: Settings) -> Iterator[Problem]:
    """Finds unreadable logs of ingests; without its log, a whole table is read again."""
    for table in INGESTED_TABLES:
        try:
            read_ingest_log(settings.home, table)
        except IngestLogError as error:
            yield Problem(error.path, "cannot be read")


def _databases(settings: Settings) -> Iterator[Problem]:
    """Finds damaged SQLite files of the serving store and of Dagster's storage."""
    store = settings.home / "serving.sqlite"
    if store.exists() and (reason := _sqlite_problem(store) or _store_problem(settings)):
        yield Problem(store, f"{reason}; the next run publishes a release into a new file")
    posted = settings.home / "serving-posted.sqlite"
    if posted.exists() and (reason := _sqlite_problem(posted)):
        yield Problem(
            posted,
            f"{reason}; move it away: the service begins a new one, and what was posted and not "
            "ingested yet is lost",
            is_repairable=False,
        )
    for path in sorted((settings.home / "dagster").rglob("*.db")):
        if reason := _sqlite_problem(path):
            yield Problem(
                path,
                f"{reason}; move the folder dagster/ away: the history of runs begins again",
                is_repairable=False,
            )


def _store_problem(settings: Settings) -> str | None:
    """Names tables of the served release that differ from what was published; None: all match."""
    if settings.serving.url is not None:
        return None
    try:
        with Store.of(settings) as store:
            changed = find_changed_tables(store, Warehouse.of(settings))
    except (StoreError, sa.exc.SQLAlchemyError, KeyError, ValueError, TypeError) as error:
        return f"cannot be read ({str(error).splitlines()[0]})"
    return f"has other rows than were published in {', '.join(changed)}" if changed else None


def _sqlite_problem(path: Path) -> str | None:
    try:
        # Not read-only: a killed process leaves a journal that the next one to open it rolls back.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as db:
            [(answer,), *_] = db.execute("pragma quick_check(1)").fetchall()
    except sqlite3.Error as error:
        return f"cannot be read ({error})"
    return None if answer == "ok" else f"is damaged ({str(answer).splitlines()[0]})"
