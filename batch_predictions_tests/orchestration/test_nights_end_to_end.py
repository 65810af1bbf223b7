"""Nights by schedule and sensors, on a source that is late, silent or corrected: as by `run`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from batch_predictions.models.model_store import ModelStore
from batch_predictions.orchestration.nights import WHY_TAG
from batch_predictions.planning import training_cadence
from batch_predictions.planning.repair import finish_repair, move_damaged_aside, read_repair
from batch_predictions.settings import TrainingSettings
from batch_predictions.tables import DRIFT, INTERACTIONS
from batch_predictions.warehouse.arrow_rows import arrow_rows
from batch_predictions_tests.worlds.tiny_home import TinyHome
from batch_predictions_tests.worlds.tiny_platform import DAILY, WEEKLY, faults, write_day
from batch_predictions_tests.worlds.tiny_platform import tiny_platform as tiny_platform

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny_platform")]
MONDAY = dt.date(2024, 3, 4)
FIRST_TRAINING = "tiny: not trained through 2024-03-10 yet"


def day(number: int) -> dt.date:
    """The first day of the source is 0, its first Sunday 6."""
    return MONDAY + dt.timedelta(days=number)


def night(number: int) -> dt.datetime:
    """The tick after a day has ended."""
    return dt.datetime.combine(day(number + 1), dt.time(5), dt.UTC)


def test_two_weeks_of_nights_are_as_by_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    for number in range(7):
        write_day(source, day(number))
    home = TinyHome(tmp_path / "home", source, monkeypatch)
    by_run = TinyHome(tmp_path / "by_run", source, monkeypatch)

    def assert_as_by_run() -> None:
        by_run.run()
        assert home.contents() == by_run.contents()
        assert home.released() == by_run.released() is not None

    # The first Monday's tick, with a week to ingest.
    home.tick(night(6))
    assert home.take_log() == [
        "ingest 2024-03-04 to 2024-03-10",
        # Weeks without promotions, which the source does not have.
        "ingest_weekly 2024-03-04 to 2024-03-18",
        "weekly_training 2024-03-04",
        "weekly_predictions 2024-03-04",
        "nightly 2024-03-10",
    ]
    assert_as_by_run()
    # The next day is not there at its tick.
    home.tick(night(7))
    assert home.take_log() == [] and "no later day yet" in " ".join(home.skipped)
    home.look(night(7))
    write_day(source, day(7))
    home.look(night(7), times=1)
    assert home.take_log() == []
    assert "new 2024-03-11: asked for at the next look" in " ".join(home.skipped)
    home.look(night(7), times=1)
    # A week has begun, and so has the third one from it.
    assert home.take_log() == [
        "ingest 2024-03-11",
        "ingest_weekly 2024-03-25",
        "nightly 2024-03-11",
    ]
    # A day of the week that was trained is corrected.
    write_day(source, day(5), item="b")
    home.look(night(7))
    assert "late or corrected 2024-03-09" in " ".join(home.skipped)
    assert home.take_log() == [
        "ingest 2024-03-09",
        "weekly_training 2024-03-04",
        "weekly_predictions 2024-03-04",
        "nightly 2024-03-11",
    ]
    assert_as_by_run()
    # The daemon was down for six days, and the training fails: the model before serves.
    for number in range(8, 14):
        write_day(source, day(number))
    faults.add("training")
    home.tick(night(13))
    assert home.take_log() == [
        "ingest 2024-03-12 to 2024-03-17",
        "weekly_training 2024-03-11 failed",
        "weekly_predictions 2024-03-11",
        "nightly 2024-03-17",
    ]
    assert [version[:15] for version in versions_of_day(home)] == ["tiny-2024-03-10"]
    assert_as_by_run()
    # It is mended: the next tick trains, although there is nothing to ingest.
    faults.clear()
    home.tick(night(14))
    assert home.take_log() == [
        "ingest 2024-03-17",
        "weekly_training 2024-03-11",
        "weekly_predictions 2024-03-11",
        "nightly 2024-03-17",
    ]
    assert [version[:15] for version in versions_of_day(home)] == ["tiny-2024-03-17"]


def test_drift_asks_for_a_training_between_those_of_every_fourth_week(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    write_day(source, day(0))
    home = TinyHome(tmp_path / "home", source, monkeypatch)
    home.settings.training = TrainingSettings(every_weeks=4)
    made_by = {"predictions.tiny_days": "tiny"}
    monkeypatch.setattr(training_cadence, "model_by_table", lambda: made_by)

    def trained_on_sunday(last: int) -> list[str]:
        for number in range(last - 6, last + 1):
            write_day(source, day(number))
        home.tick(night(last))
        return [job for job in home.take_log() if job.startswith("weekly_training")]

    assert trained_on_sunday(6) == ["weekly_training 2024-03-04"]
    assert trained_on_sunday(13) == []
    # On the Wednesday of the third week, scores are not as they were at the training.
    drift = {
        "table_name": "predictions.tiny_days",
        "column_name": "score",
        "statistic": "psi",
        "value": 0.4,
        "reference": day(6),
        "n": 2,
    }
    rows = arrow_rows(DRIFT, [drift])
    home.warehouse.replace_partition(DRIFT, day(16).isoformat(), rows)
    assert trained_on_sunday(20) == ["weekly_training 2024-03-18"]
    [why] = {run.tags.get(WHY_TAG) for run in home.in_memory.get_runs()} - {None, FIRST_TRAINING}
    assert why and why.startswith("tiny: predictions.tiny_days.score of 2024-03-20 has drifted")
    assert trained_on_sunday(27) == []


def test_a_night_makes_again_what_damaged_files_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    for number in range(7):
        write_day(source, day(number))
    home = TinyHome(tmp_path / "home", source, monkeypatch)
    home.tick(night(6))
    write_day(source, day(7))
    home.tick(night(7))
    before = home.contents()
    home.take_log()
    version = versions_of_day(home, "2024-03-11")[0]
    paths = [
        home.warehouse.path(INTERACTIONS, "2024-03-05"),
        home.warehouse.path(DAILY, "2024-03-10"),
        home.warehouse.path(WEEKLY, "2024-03-04"),
    ]
    for path in paths:
        path.write_bytes(b"damaged")
    (ModelStore.of(home.settings).folder("tiny", version) / "rows.json").write_text("damaged")
    assert {file.path for file in move_damaged_aside(home.settings)} == {*paths}
    assert not any(path.exists() for path in paths)
    home.tick(night(7))
    assert home.take_log() == [
        "ingest 2024-03-05",
        "weekly_training 2024-03-04",
        "weekly_predictions 2024-03-04",
        "nightly 2024-03-10",
        "nightly 2024-03-11",
    ]
    assert home.contents() == before
    assert not read_repair(home.settings), "what is made again is forgotten"
    # What is lost while a night is under way is left to the next one.
    path = home.warehouse.path(DAILY, "2024-03-10")
    path.write_bytes(b"damaged")
    move_damaged_aside(home.settings)
    finish_repair(home.settings, [], begun=0.0)
    assert read_repair(home.settings).assets == {"2024-03-10": {("predictions", DAILY.name)}}
    home.tick(night(8))
    assert home.contents() == before and home.take_log()
    home.tick(night(7))
    assert home.take_log() == []


def versions_of_day(home: TinyHome, date: str = "2024-03-17") -> list[str]:
    """The models that scored a day."""
    rows = home.warehouse.query(
        "select distinct model_version from predictions.tiny_days where date = $date::DATE",
        {"date": date},
    )
    return [row["model_version"] for row in rows.to_pylist()]
