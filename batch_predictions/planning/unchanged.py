"""Recognises a run that has nothing to do: its day is predicted and released from the same inputs.

After a run, a digest of everything that its results depend on is stored in `<home>/last_run.json`.
A later run of the same days with an equal digest, whose source has nothing new, is skipped.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from batch_predictions.core.durability import atomic_write
from batch_predictions.core.home import read_state
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.planning.run_plan import RunPlan, plan_run, weeks_needed
from batch_predictions.settings import Settings
from batch_predictions.sources.shrinkage import read_kept_rows
from batch_predictions.sources.source_registry import source_of
from batch_predictions.tables import (
    BACKTEST_DECISIONS,
    BACKTESTS,
    COSTS,
    PROMOTIONS_LOG,
    SEQUENCE_STATES,
    TABLES,
    Table,
)
from batch_predictions.tables.discovery import instances, plugins
from batch_predictions.tables.partitions import days_between, trained_through
from batch_predictions.warehouse import Warehouse, as_date

FILE_NAME = "last_run.json"
NIGHT_FILE_NAME = "last_night.sha256"
FAILURES_FILE_NAME = "last_failures.json"
WEEKS_FILE_NAME = "last_weeks.sha256"
_WITHOUT_EFFECT = (COSTS, BACKTESTS, BACKTEST_DECISIONS, SEQUENCE_STATES)
"""Tables that no row of another depends on."""
CODE_SUFFIXES = (".py", ".sql")


def digest_of_program(settings: Settings) -> str:
    """A hash of the settings and of the code of the platform and of plugins."""
    return _hash([_settings_json(settings)], _stats(sorted(_code_files())))


def digest_of_run(settings: Settings, plan: RunPlan, warehouse: Warehouse) -> str:
    """A hash of what a run's results depend on, and of the results themselves.

    It covers the settings, the code of the platform and of plugins, the raw partitions, the
    decisions of trainings, the partitions of the predicted days and weeks, and the served release.
    Files count by size and modification time.
    """
    return _hash(
        [_settings_json(settings), plan.first, plan.last, *plan.weeks],
        _stats(sorted(_code_files())),
        _stats(sorted(_partition_files(plan, warehouse)), warehouse.folder),
        [served_release(settings)],
    )


def digest_of_weeks(settings: Settings, plan: RunPlan, warehouse: Warehouse) -> str:
    """A hash of what the weekly tables of a plan depend on, and of these tables themselves.

    Rows after the weeks count for nothing, so that a night whose week is predicted need not predict
    it again.
    """
    return _hash(
        [_settings_json(settings), *plan.weeks],
        _stats(sorted(_code_files())),
        _stats(sorted(_files_through(plan.weeks, warehouse)), warehouse.folder),
    )


def are_weeks_unchanged(settings: Settings, plan: RunPlan, warehouse: Warehouse) -> bool:
    """Returns whether the plan's weekly tables were predicted from the same inputs."""
    try:
        recorded = (settings.home / WEEKS_FILE_NAME).read_text(encoding="utf-8")
    except OSError:
        return False
    return recorded == digest_of_weeks(settings, plan, warehouse)


def record_weeks(settings: Settings, plan: RunPlan, warehouse: Warehouse) -> None:
    """Stores the digest of weekly tables that were predicted."""
    digest = digest_of_weeks(settings, plan, warehouse)
    atomic_write(settings.home / WEEKS_FILE_NAME, digest)


def record_failures(settings: Settings, day: str, failed: Mapping[str, str]) -> None:
    """Stores what failed in the last run or night of everything; nothing: removes what is stored.

    Args:
        settings: of the home.
        day: last day of the run.
        failed: by asset, such as models/churn, or by step at the end, such as retention: why, and
            what is served instead.
    """
    path = settings.home / FAILURES_FILE_NAME
    if failed:
        atomic_write(path, json.dumps({"day": day, "failed": dict(failed)}, indent=1))
    else:
        path.unlink(missing_ok=True)


def read_failures(settings: Settings) -> dict[str, str]:
    """Reads what failed in the last run or night, by asset or step: day, reason, what serves."""
    try:
        stored = json.loads((settings.home / FAILURES_FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: f"{stored['day']}: {reason}" for name, reason in stored["failed"].items()}


def _has_failed_assets(settings: Settings) -> bool:
    """Returns whether a table, a model or the release is still to be made."""
    return any("/" in name for name in read_failures(settings))


def record_run(settings: Settings, digest: str, summary: dict[str, object]) -> None:
    """Stores the digest and the summary of a run that ended without an error."""
    record = {"digest": digest, "kept": _kept_rows(settings), "summary": summary}
    text = json.dumps(record, indent=1, default=str)
    atomic_write(settings.home / FILE_NAME, text)


def is_night_unchanged(settings: Settings, plan: RunPlan, warehouse: Warehouse) -> bool:
    """Returns whether the plan's days were predicted and released from the same inputs.

    By the runs of schedules and sensors, or by the command `run`.
    """
    if _has_failed_assets(settings):
        return False
    recorded = set()
    with contextlib.suppress(OSError):
        recorded.add((settings.home / NIGHT_FILE_NAME).read_text(encoding="utf-8"))
    with contextlib.suppress(OSError, ValueError):
        record = json.loads((settings.home / FILE_NAME).read_text(encoding="utf-8"))
        recorded.add(record.get("digest"))
    # The digest reads the times of all files, and is of no use without a record.
    return bool(recorded) and digest_of_run(settings, plan, warehouse) in recorded


def record_night(
    settings: Settings, plan: RunPlan, warehouse: Warehouse, started: float, ended: float
) -> None:
    """Stores the digest of days that a run of Dagster has predicted and released.

    Not if a file has changed since: then it is not known from what they were predicted.

    Args:
        settings: of the home.
        plan: the days.
        warehouse: of the home.
        started: when the run began, in seconds since the epoch.
        ended: when it ended.
    """
    if _are_settled(_partition_files(plan, warehouse), warehouse, started, ended):
        digest = digest_of_run(settings, plan, warehouse)
        atomic_write(settings.home / NIGHT_FILE_NAME, digest)


def record_weeks_of_run(
    settings: Settings, plan: RunPlan, warehouse: Warehouse, started: float, ended: float
) -> None:
    """Stores the digest of the weekly tables of a Dagster run, if no input changed meanwhile.

    Args:
        settings: of the home.
        plan: its weeks are those of the run.
        warehouse: of the home.
        started: when the run began, in seconds since the epoch.
        ended: when the run ended, in seconds since the epoch.
    """
    if _are_settled(_files_through(plan.weeks, warehouse), warehouse, started, ended):
        record_weeks(settings, plan, warehouse)


def _are_settled(files: Iterable[Path], warehouse: Warehouse, started: float, ended: float) -> bool:
    """Returns whether no raw file was written after the run began, and none after it ended."""
    raw = warehouse.folder / "raw"
    return all(
        file.stat().st_mtime <= (started if file.is_relative_to(raw) else ended) for file in files
    )


def find_unchanged_run(
    settings: Settings,
    first: dt.date | None = None,
    last: dt.date | None = None,
) -> dict[str, object] | None:
    """The summary of the last run, if a run would have the same results; else None.

    Args:
        settings: of the home, which is initialised.
        first: as of `run.run`.
        last: as of `run.run`.

    Raises:
        SourceError: the source cannot be read, or has no such day.
    """
    if not (settings.home / FILE_NAME).exists():
        return None
    start = time.perf_counter()
    state = read_state(settings.home)
    assert state is not None, "the home is initialised"
    source = source_of(settings, state)
    warehouse = Warehouse.of(settings)
    plan = plan_run(settings, source, state, warehouse, first, last)
    summary = _recorded_summary(settings, plan, warehouse)
    if summary is None:
        return None
    done: dict[str, object] = {
        "repaired": [],
        "ingested": [],
        "corrected": [],
        "stale": {},
        "trained": [],
    }
    return summary | done | {"unchanged": True, "seconds": time.perf_counter() - start}


def _recorded_summary(
    settings: Settings, plan: RunPlan, warehouse: Warehouse
) -> dict[str, object] | None:
    if plan.raw_days or plan.weeks_ahead or _has_failed_assets(settings):
        return None
    try:
        record = json.loads((settings.home / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    summary: dict[str, Any] = record["summary"]
    first = as_date(summary["first_day"])
    if first > plan.first or summary["last_day"] != str(plan.last):
        return None
    # The last run may have predicted days before those of the plan, too.
    whole = replace(plan, first=first, weeks=weeks_needed(first, plan.last))
    if record.get("kept") != _kept_rows(settings):
        return None
    if record.get("digest") != digest_of_run(settings, whole, warehouse):
        return None
    return summary | {"first_day": str(plan.first)}


def _kept_rows(settings: Settings) -> list[str]:
    """What a summary says about rows that are kept although the source has others."""
    kept = read_kept_rows(settings.home)
    return [*kept.lost.values(), *kept.notes]


def served_release(settings: Settings) -> str | None:
    """The release that applications see; None before the first."""
    from batch_predictions.serving.store.snapshot import ReadStore
    from batch_predictions.serving.store.store import store_url

    with ReadStore(store_url(settings)) as store:
        release = store.current_release()
    return release.release_id if release else None


def _code_files() -> Iterator[Path]:
    """Files of the platform, and of the packages of plugins."""
    folders = {Path(__file__).parents[1]}
    for name in plugins():
        file = getattr(sys.modules.get(name.split(".")[0]), "__file__", None)
        if file:
            folders.add(Path(file).parent if Path(file).name == "__init__.py" else Path(file))
    for folder in folders:
        files = [folder] if folder.is_file() else folder.rglob("*")
        yield from (file for file in files if file.suffix in CODE_SUFFIXES)


def _partition_files(plan: RunPlan, warehouse: Warehouse) -> Iterator[Path]:
    """Files of raw tables and decisions, and of everything that is made for the plan's days."""
    days = set(days_between(plan.first, plan.last))
    weeks = {week.isoformat() for week in plan.weeks}
    for table in TABLES.values():
        folder = warehouse.folder / table.schema / table.name
        if table in _WITHOUT_EFFECT:
            continue
        if table.schema == "raw" or table == PROMOTIONS_LOG:
            yield from folder.rglob("*.parquet")
        elif table.partition:
            for key in weeks if table.partition == "week" else days:
                yield from (folder / f"{table.partition}={key}").rglob("*.parquet")


def _files_through(weeks: Sequence[dt.date], warehouse: Warehouse) -> Iterator[Path]:
    """Yields the files that weekly tables can depend on: none of a prediction's later days.

    Snapshots and decisions count as a whole. Tiles have nothing that raw tables do not have. Days
    of features, predictions and metrics count only where a weekly table reads some: those of a
    Sunday are made after the tables of its week. So do weeks that are known ahead, as a whole.
    Nothing depends on costs and backtests.
    """
    last = trained_through(max(weeks)).isoformat()
    reads = weekly_reads()
    days_count = any(_is_made_daily(TABLES[name]) for name in reads)
    for table in TABLES.values():
        folder = warehouse.folder / table.schema / table.name
        if table.schema == "tiles" or table in _WITHOUT_EFFECT:
            continue
        is_unread = _is_made_daily(table) or (table.ahead and table.qualified not in reads)
        if is_unread and not days_count:
            continue
        if table.partition is None or table.ahead or table == PROMOTIONS_LOG:
            yield from folder.rglob("*.parquet")
            continue
        for partition in folder.glob(f"{table.partition}=*"):
            if partition.name.partition("=")[2] <= last:
                yield from partition.rglob("*.parquet")


def weekly_reads() -> set[str]:
    """Qualified names of the tables that weekly predictions read."""
    predictions = instances(BatchPrediction, "predictions/*.py")
    reads = [prediction.tables() for prediction in predictions if prediction.cadence == "weekly"]
    return set().union(*reads)


def _is_made_daily(table: Table) -> bool:
    """Returns whether a table is made of raw rows every day."""
    return table.partition == "date" and table.schema != "raw"


def _settings_json(settings: Settings) -> str:
    """The settings without the home's place, which is another on each machine."""
    return settings.model_dump_json(exclude={"home", "home_cache", "home_cache_gb"})


def _stats(files: Iterable[Path], root: Path | None = None) -> Iterator[str]:
    """Paths, below a root from there, with sizes and times."""
    skipped = len(f"{root}/") if root else 0
    for file in files:
        stat = file.stat()
        yield f"{str(file)[skipped:]} {stat.st_size} {stat.st_mtime_ns}"


def _hash(*parts: Iterable[object]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for value in part:
            digest.update(f"{value}\n".encode())
    return digest.hexdigest()
