"""No week of a backtest is run in a home that has later rows, whatever was asked for before."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import pytest

from batch_predictions.core.home import write_state
from batch_predictions.operations.backtest import past_weeks
from batch_predictions.operations.backtest.home_run import Progress
from batch_predictions.operations.backtest.past_weeks import PastWeeks
from batch_predictions.settings import Settings
from batch_predictions.sources.rows.ingest_log import IngestLogEntry, update_ingest_log
from batch_predictions.sources.shrinkage import newest_ingested_day
from batch_predictions.tables import INTERACTIONS
from batch_predictions_tests.worlds.home_state import STATE

ENDS = [dt.date(2024, 3, 3) + dt.timedelta(weeks=n) for n in range(4)]


def ingest(home: Path, through: dt.date, fingerprint: str = "f") -> None:
    """Records the ingest of the Sundays through a day, as a run does."""
    with update_ingest_log(home, INTERACTIONS) as log:
        for end in ENDS:
            if end <= through:
                entry = IngestLogEntry(fingerprint=fingerprint, read=1, accepted=1, quarantined=0)
                log.days[str(end)] = entry


class Backtest:
    """A backtest whose runs only ingest.

    Attributes:
        runs: name of the home, Sunday and newest day of the home before, of each run.
    """

    def __init__(self, home: Path) -> None:
        self.home, self.runs = home, list[tuple[str, dt.date, dt.date | None]]()
        write_state(home, STATE)
        ingest(home, ENDS[-1])

    def run(
        self, home: Path, sunday: dt.date, only: Sequence[str], progress: Progress
    ) -> dict[str, str]:
        self.runs.append((home.name, sunday, newest_ingested_day(home)))
        ingest(home, sunday)
        return {}

    def backtest(self, weeks: int) -> list[dt.date]:
        """Runs what is due of the newest weeks; returns it."""
        past, ends = PastWeeks(Settings(home=self.home)), ENDS[-weeks:]
        past.prepare(ends)
        due = [end for end in ends if past.is_due(end)]
        for end in due:
            past.run_week(end, print)
        past.find_leaks(print)
        return due


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backtest:
    world = Backtest(tmp_path / "home")
    monkeypatch.setattr(past_weeks, "run_home", world.run)
    return world


def assert_no_later_rows(world: Backtest) -> None:
    for name, sunday, newest in world.runs:
        assert name != "own" or newest is None or newest <= sunday


def test_older_weeks_begin_a_new_home_and_the_trainings_stay(world: Backtest) -> None:
    assert world.backtest(1) == ENDS[-1:]
    assert world.backtest(3) == ENDS[-3:]
    assert_no_later_rows(world)
    [kept] = PastWeeks(Settings(home=world.home)).workers()
    assert newest_ingested_day(kept) == ENDS[-1]
    assert world.backtest(3) == world.backtest(2) == []
    assert world.backtest(4) == ENDS
    assert_no_later_rows(world)


def test_newer_weeks_are_added_to_what_was_run(world: Backtest) -> None:
    past = PastWeeks(Settings(home=world.home))
    past.prepare(ENDS[:3])
    for end in ENDS[:3]:
        past.run_week(end, print)
    assert world.backtest(2) == ENDS[-1:]
    assert past.workers() == []


def test_corrected_rows_of_a_week_run_it_and_all_after_it_again(world: Backtest) -> None:
    world.backtest(4)
    with update_ingest_log(world.home, INTERACTIONS) as log:
        corrected = log.days[str(ENDS[2])].model_copy(update={"fingerprint": "corrected"})
        log.days[str(ENDS[2])] = corrected
    assert world.backtest(4) == ENDS
    assert_no_later_rows(world)


def test_leaks_are_searched_in_the_oldest_week_that_was_run(world: Backtest) -> None:
    """A newer one has decisions before it, which a home of that week alone lacks."""
    world.backtest(4)
    world.runs.clear()
    past = PastWeeks(Settings(home=world.home))
    record = past._record()
    past._write_record({name: value for name, value in record.items() if name != "leak_check"})
    world.backtest(2)
    assert world.runs == [("own-with-later-rows", ENDS[0], ENDS[-1])]
