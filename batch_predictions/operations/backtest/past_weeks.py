"""Runs past weeks of a home, each as if it were the newest, in a home of their own.

Every week is trained and predicted by `batch-predictions run`, in `<home>/backtests/<name>`, which
has ingested nothing later. That home is kept: a backtest that was stopped goes on where it was. A
week before its newest rows is run in a new home, and all weeks after it again.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from batch_predictions.core.durability import atomic_write
from batch_predictions.core.home import BACKTESTS, ERASURES, read_state
from batch_predictions.core.home_bucket import bucket_of
from batch_predictions.operations.backtest.backtest_settings import (
    read_settings_file,
    settings_text,
)
from batch_predictions.operations.backtest.home_run import Progress, run_home
from batch_predictions.planning.declarations import load_declarations
from batch_predictions.planning.unchanged import digest_of_program
from batch_predictions.settings import FILE_NAME, Settings, SettingsError
from batch_predictions.sources.rows.ingest_log import read_ingest_log
from batch_predictions.sources.shrinkage import newest_ingested_day
from batch_predictions.tables import EVENT_TABLES, TABLES, Table, week_of
from batch_predictions.warehouse import Warehouse

OWN = "own"
"""Name of the home's own settings."""
RECORD = "backtest.json"


@dataclass(frozen=True)
class PastWeeks:
    """The past weeks of a home, by its own settings or by others.

    Attributes:
        settings: of the home.
        name: of the settings: `own`, or the stem of their file.
        file: settings that replace those of the home; None: its own.
        only: tables and models that are made, with what they need; empty: all.
    """

    settings: Settings
    name: str = OWN
    file: Path | None = None
    only: tuple[str, ...] = ()

    @property
    def home(self) -> Path:
        """The home in which the weeks are run."""
        return self.settings.home / BACKTESTS / self.name

    def prepare(self, ends: Sequence[dt.date]) -> None:
        """Makes the home, without rows after the oldest week that is to be run.

        It is begun anew if settings, code or installed packages have changed, or if it has such
        rows: predictions may read them. The trainings of its weeks, which do not, are adopted.

        Args:
            ends: Sundays, oldest first.

        Raises:
            SettingsError: the home was never run, or the file has no settings.
        """
        replaced = read_settings_file(self.file)
        installed = sorted(f"{package.name} {package.version}" for package in distributions())
        parts = [digest_of_program(self.settings), replaced, self.only, installed]
        program = hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()
        if self._record().get("program") != program:
            for folder in filter(Path.exists, (self.home, *self.workers())):
                shutil.rmtree(folder)
            self._begin(replaced, program)
        due = [end for end in ends if self.is_due(end)]
        newest = newest_ingested_day(self.home)
        if due and newest is not None and newest > due[0]:
            if self.is_weekly():
                self.home.replace(self.home.with_name(f"{self.worker_prefix}{uuid.uuid4().hex}"))
            else:
                shutil.rmtree(self.home)
            self._begin(replaced, program)

    def _begin(self, replaced: Mapping[str, Any], program: str) -> None:
        """Makes the home with settings that replace those of the home, and without rows."""
        state = self.settings.home / "state.yaml"
        if not state.exists():
            raise SettingsError(
                f"{self.settings.home} was never run: `batch-predictions run` first"
            )
        self.home.mkdir(parents=True)
        shutil.copy2(state, self.home)
        if (additions := self.settings.home / "additions").is_dir():
            shutil.copytree(additions, self.home / "additions")
        atomic_write(self.home / FILE_NAME, settings_text(self.settings.home, replaced))
        self._write_record({"program": program, "weeks": {}})

    def week(self, sunday: dt.date) -> dict[str, Any] | None:
        """Returns the record of a week: failures, metrics, decisions; None if it was not run."""
        week: dict[str, Any] | None = self._record()["weeks"].get(str(sunday))
        return week

    def is_due(self, sunday: dt.date) -> bool:
        """Returns whether a week must be run: it is new, has failures, or has corrected rows."""
        week = self.week(sunday)
        return week is None or bool(week["failed"]) or week["rows"] != self._rows_through(sunday)

    def run_week(self, sunday: dt.date, progress: Progress) -> None:
        """Trains and predicts as of the end of a Sunday, and records what was decided.

        Raises:
            BacktestError: the run failed; the message is its last line.
        """
        failed = self.run(sunday, progress)
        with self.as_run() as (_, warehouse):
            week = {
                "failed": failed,
                "rows": self._rows_through(sunday),
                "hold_out": _hold_out(warehouse, sunday),
                "decisions": _decisions(warehouse, sunday),
                "predictions": digests(warehouse, sunday),
            }
        record = self._record()
        record["weeks"][str(sunday)] = week
        record.pop("leak_check", None)
        self._write_record(record)

    def run(self, sunday: dt.date, progress: Progress) -> dict[str, str]:
        """Trains and predicts as of the end of a Sunday; returns failures by table or model.

        Raises:
            BacktestError: the run failed; the message is its last line.
        """
        erasures = self.settings.home / ERASURES
        if erasures.exists():
            # Its source may have users still who were erased.
            shutil.copy2(erasures, self.home)
        return run_home(self.home, sunday, self.only, progress)

    @property
    def worker_prefix(self) -> str:
        """Beginning of the names of the homes in which weeks are trained ahead."""
        return f"{self.name}-trainings-"

    def workers(self) -> list[Path]:
        """The homes in which weeks were trained ahead."""
        return sorted(self.home.parent.glob(f"{self.worker_prefix}*"))

    def is_weekly(self) -> bool:
        """Returns whether every week is trained, so that no training depends on the one before."""
        with self.as_run() as (settings, _):
            return settings.training.every_weeks == 1

    def trained_models(self) -> list[str]:
        """The models of the newest week that was run."""
        weeks = self._record()["weeks"]
        return [row["model"] for row in weeks[max(weeks)]["decisions"]] if weeks else []

    @contextmanager
    def as_run(self) -> Iterator[tuple[Settings, Warehouse]]:
        """Yields the settings and the warehouse of the weeks, with the tables that they declare."""
        before = os.environ.get("BATCH_PREDICTIONS_HOME")
        try:
            settings = Settings.load(self.home)
        finally:
            os.environ.pop("BATCH_PREDICTIONS_HOME", None)
            if before is not None:
                os.environ["BATCH_PREDICTIONS_HOME"] = before
        load_declarations(settings)
        try:
            yield settings, Warehouse.of(settings)
        finally:
            load_declarations(self.settings)

    def find_leaks(self, progress: Progress) -> list[str]:
        """Runs the oldest week again with the rows of all later weeks; returns tables that differ.

        A table differs if anything that it is made from reads rows of later days. The oldest week
        of the home has no decision before it. The result is kept until a week is run.

        Raises:
            BacktestError: the run failed; the message is its last line.
        """
        record = self._record()
        sunday = dt.date.fromisoformat(min(record["weeks"]))
        if (check := record.get("leak_check")) and check["week"] == str(sunday):
            return list(check["tables"])
        again = replace(self, name=f"{self.name}-with-later-rows")
        self.copy_rows(again)
        again.run(sunday, progress)
        before = record["weeks"][str(sunday)]["predictions"]
        with again.as_run() as (_, warehouse):
            after = digests(warehouse, sunday)
        shutil.rmtree(again.home)
        tables = sorted(name for name in before if before[name] != after.get(name))
        self._write_record({**record, "leak_check": {"week": str(sunday), "tables": tables}})
        return tables

    def copy_rows(self, to: PastWeeks) -> None:
        """Makes a home anew with the settings and the raw rows of this one."""
        if to.home.exists():
            shutil.rmtree(to.home)
        to.home.mkdir(parents=True)
        for name in ("state.yaml", FILE_NAME):
            shutil.copy2(self.home / name, to.home)
        # Partitions are replaced, and never written in place: links to them stay as they are.
        copies: dict[str, Callable[[str, str], object]] = {
            "additions": shutil.copy2,
            "ingests": shutil.copy2,
            "warehouse/raw": os.link,
        }
        for name, copy in copies.items():
            if (self.home / name).is_dir():
                shutil.copytree(self.home / name, to.home / name, copy_function=copy)

    def _rows_through(self, sunday: dt.date) -> str:
        """A hash of the rows that the home has read of the days up to a Sunday."""
        read = [
            f"{table.name} {day} {entry.fingerprint}"
            for table in EVENT_TABLES
            for day, entry in sorted(read_ingest_log(self.settings.home, table).days.items())
            if day <= str(sunday)
        ]
        return hashlib.sha256("\n".join(read).encode()).hexdigest()

    def _record(self) -> dict[str, Any]:
        path = self.home / RECORD
        record: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
        return record

    def _write_record(self, record: Mapping[str, Any]) -> None:
        atomic_write(self.home / RECORD, json.dumps(record, default=str))


def sundays(settings: Settings, weeks: int) -> list[dt.date]:
    """The ends of the newest weeks after which at least a day is known, oldest first.

    Args:
        settings: of the home.
        weeks: how many.

    Raises:
        SettingsError: the home has no such week, or is in a bucket.
    """
    if bucket_of(settings.home) is not None:
        raise SettingsError(
            "a backtest needs a home in a folder: `batch-predictions move-home` copies this one "
            "from its bucket"
        )
    last, state = newest_ingested_day(settings.home), read_state(settings.home)
    if state is None or last is None:
        raise SettingsError(f"{settings.home} has no rows: `batch-predictions run` first")
    newest = week_of(last) - dt.timedelta(days=1)
    ends = [newest - dt.timedelta(days=7 * back) for back in range(weeks)]
    known = [end for end in reversed(ends) if end > state.first_day]
    if not known:
        raise SettingsError(f"{settings.home} has no whole week of the past yet")
    return known


def expected_seconds(warehouse: Warehouse) -> tuple[float, float]:
    """Seconds of a week's trainings and of the rest, by the newest runs in evaluation.costs."""
    [row] = warehouse.query(
        """select coalesce(sum(seconds) filter (asset like 'models.%'), 0)::DOUBLE as trainings,
            coalesce(sum(seconds) filter (asset not like 'models.%'), 0)::DOUBLE as rest
        from (
            select asset, arg_max(seconds, date) as seconds from evaluation.costs
            where asset not like 'raw.%' group by asset
        )"""
    ).to_pylist()
    return row["trainings"], row["rest"]


def digests(warehouse: Warehouse, sunday: dt.date) -> dict[str, str]:
    """A hash of the rows of every table of predictions as of a Sunday, whatever their order."""
    found = {}
    for table in TABLES.values():
        key = partition_as_of(table, sunday)
        if table.schema != "predictions" or key not in warehouse.partitions(table):
            continue
        names = [column.name for column in table.columns if column.name != "model_version"]
        hashed = ", ".join(f'"{name}"' for name in names)
        found[table.qualified] = warehouse.value(
            f"select count(*) || ' ' || coalesce(sum(hash({hashed})::HUGEINT), 0) "
            f"from {table.qualified} where {table.partition} = $partition::DATE",
            {"partition": key},
        )
    return found


def partition_as_of(table: Table, sunday: dt.date) -> str:
    """The partition of a table as of a Sunday: the day, or the Monday of its week."""
    return str(week_of(sunday) if table.partition == "week" else sunday)


def _hold_out(warehouse: Warehouse, sunday: dt.date) -> list[dict[str, Any]]:
    return warehouse.query(
        "select model, candidate, metric, value, lower, upper, n from evaluation.model_metrics "
        "where trained_through = $through::DATE order by all",
        {"through": sunday},
    ).to_pylist()


def _decisions(warehouse: Warehouse, sunday: dt.date) -> list[dict[str, Any]]:
    return warehouse.query(
        "select model, decision, why from evaluation.promotions_log "
        "where trained_through = $through::DATE order by model",
        {"through": sunday},
    ).to_pylist()
