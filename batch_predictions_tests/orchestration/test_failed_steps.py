"""A step that fails after another one succeeded: exit code, first line, status, and the next run.

By the command and by schedules. What is planted fails until it is taken out; then the next run, or
night, makes what is missing and nothing else.
"""

from __future__ import annotations

import datetime as dt
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from batch_predictions.cli.console.errors import FAILED, INCOMPLETE, MACHINE
from batch_predictions.core.redaction import ALERT_URLS, REPORT_URLS
from batch_predictions.operations.costs import usage
from batch_predictions.operations.report import sending
from batch_predictions.operations.retention import model_retention, prune
from batch_predictions.orchestration.job_runner import JobRunner
from batch_predictions.planning.unchanged import FILE_NAME
from batch_predictions.settings import ReportSettings, SinkSettings
from batch_predictions.tables import INTERACTIONS
from batch_predictions_tests.worlds.tiny_home import TinyHome
from batch_predictions_tests.worlds.tiny_platform import WEEKLY, TinyScorer, faults, write_day
from batch_predictions_tests.worlds.tiny_platform import tiny_platform as tiny_platform

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny_platform")]
MONDAY = dt.date(2024, 3, 4)
STALE = {"release_age", "source_age"}
"""Problems of a home whose days are long past."""


@dataclass(frozen=True)
class Fault:
    """A fault of one step.

    Attributes:
        plant: makes it fail; returns what takes the fault out.
        code: the exit code of the command.
        first_line: what its first line has.
        condition: of the problem that `status` has.
        is_of_end: whether it is of the end of a run, so that nothing else is made again.
    """

    plant: Callable[[TinyHome], Callable[[], object]]
    code: int
    first_line: str
    condition: str
    is_of_end: bool = False


def plant_trigger(home: TinyHome) -> Callable[[], object]:
    def execute(sql: str) -> None:
        with closing(sqlite3.connect(home.folder / "serving.sqlite")) as db:
            db.execute(sql)
            db.commit()

    execute(
        "create trigger planted before insert on tiny_days "
        "begin select raise(abort, 'a planted fault'); end"
    )
    return lambda: execute("drop trigger planted")


def plant_fault(name: str) -> Callable[[TinyHome], Callable[[], object]]:
    def plant(home: TinyHome) -> Callable[[], object]:
        faults.add(name)
        return faults.clear

    return plant


def plant_nan(home: TinyHome) -> Callable[[], object]:
    remove_fault = plant_fault("NaN")(home)

    def mend() -> None:
        # Scores of a version are kept.
        home.monkeypatch.setattr(TinyScorer, "version", "2")
        remove_fault()

    return mend


def plant_file(home: TinyHome) -> Path:
    """A file where a folder should be."""
    file = home.folder.parent / f"file-{home.folder.name}"
    file.write_text("no folder", encoding="utf-8")
    return file


def plant_sink(home: TinyHome) -> Callable[[], object]:
    file = plant_file(home)
    home.settings.sinks = [SinkSettings(url=str(file))]
    return file.unlink


def plant_export(home: TinyHome) -> Callable[[], object]:
    file = plant_file(home)
    home.settings.serving.release_dir = str(file)
    return file.unlink


def plant_retention(home: TinyHome) -> Callable[[], object]:
    def fail(*arguments: object) -> list[str]:
        raise PermissionError("models/tiny cannot be removed")

    before = model_retention.remove_old_models
    home.monkeypatch.setattr(prune, "remove_old_models", fail)
    return lambda: home.monkeypatch.setattr(prune, "remove_old_models", before)


def plant_costs(home: TinyHome) -> Callable[[], object]:
    folder = home.folder / usage.FOLDER
    if folder.exists():
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    folder.write_text("no folder", encoding="utf-8")
    return folder.unlink


def plant_report(home: TinyHome) -> Callable[[], object]:
    home.settings.report = ReportSettings(send="daily")

    def add_address() -> None:
        home.monkeypatch.setenv(REPORT_URLS, "json://127.0.0.1:1/somebody")
        home.monkeypatch.setattr(sending, "_send_by_apprise", lambda *_: True)

    return add_address


def plant_alerts(home: TinyHome) -> Callable[[], object]:
    home.monkeypatch.setenv(ALERT_URLS, "json://127.0.0.1:1/nobody-listens")
    return lambda: home.monkeypatch.setattr(
        "batch_predictions.operations.alerts.send_by_apprise", lambda *_: True
    )


def plant_record(home: TinyHome) -> Callable[[], object]:
    record = home.folder / FILE_NAME
    record.unlink(missing_ok=True)
    record.mkdir()
    return record.rmdir


FAULTS = {
    "release": Fault(plant_trigger, FAILED, "Not released: ", "failed:serving/release"),
    "NaN": Fault(plant_nan, FAILED, "NaN or infinity", "failed:serving/release"),
    "training": Fault(plant_fault("training"), INCOMPLETE, "models/tiny", "failed:models/tiny"),
    "weekly": Fault(
        plant_fault("weekly"), INCOMPLETE, "predictions/tiny_weeks", "failed:predictions/tiny_weeks"
    ),
    "histograms": Fault(
        plant_fault("histograms"), INCOMPLETE, "evaluation/h", "failed:evaluation/histograms"
    ),
    "drift": Fault(plant_fault("drift"), INCOMPLETE, "evaluation/drift", "failed:evaluation/drift"),
    "sink": Fault(plant_sink, INCOMPLETE, "sink ", "sink:", True),
    "export": Fault(plant_export, INCOMPLETE, "sink ", "sink:", True),
    "retention": Fault(plant_retention, INCOMPLETE, "retention", "failed:retention", True),
    "costs": Fault(plant_costs, INCOMPLETE, "costs", "failed:costs", True),
}
"""Faults by step, which the command and the schedules meet alike."""
OF_COMMANDS = {
    "report": Fault(plant_report, INCOMPLETE, "report", "report", True),
    "alerts": Fault(plant_alerts, INCOMPLETE, "alerts", "alerts", True),
    "record of the run": Fault(plant_record, MACHINE, FILE_NAME, ""),
}


def home_of_a_week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_days: int = 7) -> TinyHome:
    """A home whose first Sunday is released, and whose source has new days since."""
    source = tmp_path / "source"
    for number in range(7):
        write_day(source, MONDAY + dt.timedelta(days=number))
    home = TinyHome(tmp_path / "home", source, monkeypatch)
    home.run()
    for number in range(7, 7 + new_days):
        write_day(source, MONDAY + dt.timedelta(days=number))
    return home


def problem(home: TinyHome, condition: str) -> str | None:
    """The message of the problem whose condition begins so; None: there is none."""
    problems = home.problems()
    return next((text for name, text in problems.items() if name.startswith(condition)), None)


@pytest.mark.parametrize("step", [*FAULTS, *OF_COMMANDS])
def test_the_command_says_what_failed_and_the_next_one_makes_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    step: str,
) -> None:
    fault = (FAULTS | OF_COMMANDS)[step]
    home = home_of_a_week(tmp_path, monkeypatch)
    released = home.released()
    remove_fault = fault.plant(home)
    code, line = home.command(capsys)
    assert code == fault.code and fault.first_line in line
    if fault.code == FAILED:
        assert f"Applications see release {released} as of 2024-03-10, since " in line
        assert home.released() == released
    elif fault.code == INCOMPLETE:
        assert line.startswith(f"Released {home.released()}, but these failed: ")
        assert str(home.released()).startswith("2024-03-17")
    if fault.condition:
        assert problem(home, fault.condition), home.problems()
    # As long as it lasts, each run says so, whatever else is new.
    again, _ = home.command(capsys)
    assert again == fault.code
    remove_fault()
    code, line = home.command(capsys)
    assert code == 0
    assert line.startswith("Nothing is new" if fault.is_of_end else "Done in ")
    assert str(home.released()).startswith("2024-03-17")
    assert home.problems().keys() <= STALE
    assert home.command(capsys)[1].startswith("Nothing is new")


def test_steps_whose_costs_are_not_recorded_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = home_of_a_week(tmp_path, monkeypatch)
    # In memory, Dagster's instance has no handler: as if that could not write.
    monkeypatch.setattr(JobRunner, "is_measured", lambda _: True)
    code, line = home.command(capsys)
    assert code == INCOMPLETE and "failed: costs" in line
    assert "steps have used was not recorded" in home.problems()["failed:costs"]


def damage_in_place(path: Path) -> None:
    """Flips a bit as a disk does: size and times stay."""
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_release_reads_no_damaged_partition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = home_of_a_week(tmp_path, monkeypatch, new_days=1)
    before = home.contents()
    damage_in_place(home.warehouse.path(WEEKLY, "2024-03-04"))
    code, line = home.command(capsys)
    assert code == FAILED and line.startswith("Not released: ") and "is damaged" in line
    code, line = home.command(capsys)
    assert code == 0 and line.startswith("Done in ")
    assert str(home.released()).startswith("2024-03-11")
    assert home.contents() | before == home.contents()


@pytest.mark.parametrize("by_schedule", [False, True])
def test_a_flipped_bit_is_found_at_the_end_of_a_night_and_made_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    by_schedule: bool,
) -> None:
    home = home_of_a_week(tmp_path, monkeypatch, new_days=1)
    before = home.contents()
    damage_in_place(home.warehouse.path(INTERACTIONS, "2024-03-05"))

    def run(day: int) -> None:
        if by_schedule:
            home.tick(dt.datetime(2024, 3, day + 1, 5, tzinfo=dt.UTC))
        else:
            home.command(capsys)

    run(11)
    message = problem(home, "failed:damage")
    assert message and "has other bytes than were written" in message, home.problems()
    write_day(home.source, MONDAY + dt.timedelta(days=8))
    run(12)
    assert home.problems().keys() <= STALE
    assert home.contents() | before == home.contents()


@pytest.mark.parametrize("step", FAULTS)
def test_the_status_says_what_failed_in_a_night_and_the_next_one_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    fault = FAULTS[step]
    home = home_of_a_week(tmp_path, monkeypatch)
    released = home.released()
    remove_fault = fault.plant(home)
    home.tick(dt.datetime(2024, 3, 18, 5, tzinfo=dt.UTC))
    message = problem(home, fault.condition)
    assert message, home.problems()
    if fault.code == FAILED:
        assert home.released() == released and str(released) in message
        assert problem(home, "run:nightly") and problem(home, "run:release")
    else:
        assert str(home.released()).startswith("2024-03-17")
    remove_fault()
    write_day(home.source, MONDAY + dt.timedelta(days=14))
    home.tick(dt.datetime(2024, 3, 19, 5, tzinfo=dt.UTC))
    assert str(home.released()).startswith("2024-03-18")
    left = home.problems().keys() - STALE
    # The newest run of the job that makes up for a failed night stays the last one.
    assert left <= {"run:release"}
