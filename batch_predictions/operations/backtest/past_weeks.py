"""Runs past weeks of a home, each as if it were the newest, in a home of their own.

Every week is trained and predicted by `batch-predictions run`, in `<home>/backtests/<name>`, which
has ingested nothing later. That home is kept: a backtest that was stopped goes on where it was.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from batch_predictions.core.durability import atomic_write
from batch_predictions.core.home import read_state
from batch_predictions.core.home_bucket import bucket_of
from batch_predictions.planning.declarations import load_declarations
from batch_predictions.planning.unchanged import digest_of_program
from batch_predictions.settings import FILE_NAME, Settings, SettingsError
from batch_predictions.settings.environment import PREFIX
from batch_predictions.sources.shrinkage import newest_ingested_day
from batch_predictions.tables import TABLES, Table, week_of
from batch_predictions.warehouse import Warehouse

FOLDER = "backtests"
OWN = "own"
"""Name of the home's own settings."""
RECORD = "backtest.json"
_ALONE = {
    "sinks": [],
    "serving": {"url": None, "posted_url": None},
    "execution": {"instance": {}},
}
"""Settings by which a run reaches nothing outside of its home."""
_OUTSIDE = ("SINKS", "SERVING__", "EXECUTION__INSTANCE", "ALERT_URLS", "HOME")
"""Beginnings of the variables, after BATCH_PREDICTIONS_, that a run must not have."""
_INCOMPLETE = 6
Progress = Callable[[str], None]


class BacktestError(RuntimeError):
    """A week could not be run; the message has the cause."""


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
        return self.settings.home / FOLDER / self.name

    def prepare(self) -> None:
        """Makes the home, and begins anew if settings or code have changed since.

        Raises:
            SettingsError: the home was never run, or is in a bucket; or the file is no settings.
        """
        if bucket_of(self.settings.home) is not None:
            raise SettingsError(
                "a backtest needs a home in a folder: `batch-predictions move-home` copies "
                "this one from its bucket"
            )
        given = yaml.safe_load(self.file.read_text(encoding="utf-8")) if self.file else {}
        if not isinstance(given, dict):
            raise SettingsError(f"{self.file} has no settings: write name: value on each line")
        given.pop("home", None)
        _refuse_hidden(self.file, given)
        program = f"{digest_of_program(self.settings)} {json.dumps(given, default=str)} {self.only}"
        if self._record().get("program") == program:
            return
        shutil.rmtree(self.home, ignore_errors=True)
        state = self.settings.home / "state.yaml"
        if not state.exists():
            raise SettingsError(
                f"{self.settings.home} was never run: `batch-predictions run` first"
            )
        self.home.mkdir(parents=True)
        shutil.copy2(state, self.home)
        if (additions := self.settings.home / "additions").is_dir():
            shutil.copytree(additions, self.home / "additions")
        own = self.settings.home / FILE_NAME
        below = yaml.safe_load(own.read_text(encoding="utf-8")) if own.exists() else {}
        text = yaml.safe_dump(_merge(_merge(below or {}, given), _ALONE))
        atomic_write(self.home / FILE_NAME, text)
        self._write_record({"program": program, "weeks": {}})

    def week(self, sunday: dt.date) -> dict[str, Any] | None:
        """What was recorded of a week; None if it has not been run."""
        week: dict[str, Any] | None = self._record()["weeks"].get(str(sunday))
        return week

    def run_week(self, sunday: dt.date, progress: Progress) -> None:
        """Trains and predicts as of the end of a Sunday, and records what was decided.

        Raises:
            BacktestError: the run failed; the message is its last line.
        """
        failed = _run(self.home, sunday, self.only, progress)
        with self.as_run() as (_, warehouse):
            week = {
                "failed": failed,
                "hold_out": _hold_out(warehouse, sunday),
                "decisions": _decisions(warehouse, sunday),
                "predictions": digests(warehouse, sunday),
            }
        record = self._record()
        record["weeks"][str(sunday)] = week
        self._write_record(record)

    @contextmanager
    def as_run(self) -> Iterator[tuple[Settings, Warehouse]]:
        """The settings with which the weeks are run, and their warehouse, with what is declared."""
        before = os.environ.get("BATCH_PREDICTIONS_HOME")
        try:
            settings = Settings.load(self.home)
        finally:
            os.environ.pop("BATCH_PREDICTIONS_HOME")
            if before is not None:
                os.environ["BATCH_PREDICTIONS_HOME"] = before
        load_declarations(settings)
        try:
            yield settings, Warehouse.of(settings)
        finally:
            load_declarations(self.settings)

    def find_leaks(self, sunday: dt.date, progress: Progress) -> list[str]:
        """Runs a week again with the rows of all later weeks there; what differs.

        A table differs if anything that it is made from reads rows of later days.

        Raises:
            BacktestError: the run failed; the message is its last line.
        """
        again = PastWeeks(self.settings, f"{self.name}-with-later-rows", self.file, self.only)
        shutil.rmtree(again.home, ignore_errors=True)
        again.home.mkdir(parents=True)
        for name in ("state.yaml", FILE_NAME):
            shutil.copy2(self.home / name, again.home)
        for name in ("additions", "ingests", "warehouse/raw"):
            if (self.home / name).is_dir():
                shutil.copytree(self.home / name, again.home / name)
        _run(again.home, sunday, self.only, progress)
        before = (self.week(sunday) or {})["predictions"]
        with again.as_run() as (_, warehouse):
            after = digests(warehouse, sunday)
        shutil.rmtree(again.home)
        return sorted(name for name in before if before[name] != after.get(name))

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
        SettingsError: the home has no such week.
    """
    last, state = newest_ingested_day(settings.home), read_state(settings.home)
    if state is None or last is None:
        raise SettingsError(f"{settings.home} has no rows: `batch-predictions run` first")
    newest = week_of(last) - dt.timedelta(days=1)
    ends = [newest - dt.timedelta(days=7 * back) for back in range(weeks)]
    known = [end for end in reversed(ends) if end > state.first_day]
    if not known:
        raise SettingsError(f"{settings.home} has no whole week of the past yet")
    return known


def expected_seconds(warehouse: Warehouse) -> float:
    """Seconds that a week takes, by the newest run of every asset in evaluation.costs."""
    seconds = warehouse.value(
        """select sum(seconds) from (
            select asset, arg_max(seconds, date) as seconds from evaluation.costs
            where asset not like 'raw.%' group by asset
        )"""
    )
    return float(seconds or 0.0)


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


def _run(home: Path, sunday: dt.date, only: Sequence[str], progress: Progress) -> dict[str, str]:
    """Runs a day of a home in a process of its own; what failed, by table or model."""
    outside = tuple(f"{PREFIX}{name}" for name in _OUTSIDE)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(outside)
    }
    words = ["run", "--home", str(home), "--date", str(sunday), "--json"]
    words += [word for name in only for word in ("--only", name)]
    newest = ""
    with (
        (home / "run.json").open("w+", encoding="utf-8") as answer,
        (home / "run.log").open("a", encoding="utf-8") as log,
        subprocess.Popen(  # noqa: S603 - this interpreter, with dates and names
            [sys.executable, "-P", "-m", "batch_predictions.cli", *words],
            env=environment,
            stdout=answer,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stderr is not None
        for line in process.stderr:
            log.write(line)
            newest = line.strip() or newest
            progress(f"{home.name}, {sunday}: {newest}")
    if process.returncode not in (0, _INCOMPLETE):
        raise BacktestError(f"{sunday}: {newest} (log: {home / 'run.log'})")
    summary = json.loads((home / "run.json").read_text(encoding="utf-8"))
    failed: dict[str, str] = summary.get("failed", {})
    return failed


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


def _refuse_hidden(file: Path | None, given: Mapping[str, Any]) -> None:
    """Refuses a file of which a variable hides a setting: both sides would be the same."""
    variables = [name for name in os.environ if name.startswith(PREFIX)]
    for path in _leaves(given):
        setting = f"{PREFIX}{'__'.join(path)}".upper()
        for name in variables:
            if f"{setting}__".startswith(f"{name}__") or name.startswith(f"{setting}__"):
                raise SettingsError(
                    f"{file}: the variable {name} comes before {'.'.join(path)}: write its value "
                    f"into {FILE_NAME} and unset it"
                )


def _leaves(given: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, value in given.items():
        if isinstance(value, dict) and value:
            yield from ((name, *path) for path in _leaves(value))
        else:
            yield (name,)


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Settings over others, section by section."""
    merged = dict(below)
    for name, value in above.items():
        inner = merged.get(name)
        is_section = isinstance(inner, dict) and isinstance(value, dict) and value
        merged[name] = _merge(inner, value) if is_section and inner else value
    return merged
