"""The sensor `new_files`: which days begin a night, when, and how often."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import dagster as dg
import pytest

from batch_predictions.core.home_lock import home_lock
from batch_predictions.sources.home_state import initialise_home
from batch_predictions.sources.ingest import ingest
from batch_predictions.sources.source_registry import source_of
from batch_predictions.tables import INTERACTIONS
from batch_predictions_tests.worlds.dagster_internals import needs_internals
from batch_predictions_tests.worlds.tiny_home import TinyHome
from batch_predictions_tests.worlds.tiny_platform import tiny_platform as tiny_platform
from batch_predictions_tests.worlds.tiny_platform import write_day

pytestmark = pytest.mark.usefixtures("tiny_platform")
FIRST = dt.date(2024, 3, 4)
LAST = FIRST + dt.timedelta(days=9)


class Looks(TinyHome):
    """A home whose runs are noted and not executed."""

    def execute(self, instance: dg.DagsterInstance, request: dg.RunRequest, name: str) -> None:
        self.log.append(f"{name} {request.partition_key}")

    def look_at(self, hour: int, day: dt.date = LAST + dt.timedelta(days=1)) -> str:
        """A look at an hour: what it asked for, or why it did not."""
        self.look(dt.datetime.combine(day, dt.time(hour), dt.UTC), times=1)
        skipped = [line for line in self.skipped if "night has begun" not in line]
        self.skipped = []
        return ", ".join(self.take_log()) or skipped[-1]

    def ingest(self, *days: dt.date) -> None:
        """Ingests days."""
        state = initialise_home(self.settings)
        source = source_of(self.settings, state)
        ingest(self.warehouse, source, INTERACTIONS, [str(day) for day in days], state)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Looks:
    """A home on a source of nine days, which are not ingested."""
    for number in range(9):
        write_day(tmp_path / "source", FIRST + dt.timedelta(days=number))
    return Looks(tmp_path / "home", tmp_path / "source", monkeypatch)


@pytest.fixture
def ingested(home: Looks) -> Looks:
    """The home with all its days."""
    home.ingest(*(FIRST + dt.timedelta(days=number) for number in range(9)))
    return home


def test_a_home_without_rows_waits_for_its_first_night(home: Looks) -> None:
    assert "nothing was ever ingested" in home.look_at(6)
    assert "nothing was ever ingested" in home.look_at(6)


@needs_internals
def test_a_day_that_has_just_ended_waits_for_the_tick(ingested: Looks) -> None:
    write_day(ingested.source, LAST)
    assert ingested.look_at(4) == "nothing new"
    assert "new 2024-03-13: asked for at the next look" in ingested.look_at(6)
    # More came in between.
    write_day(ingested.source, LAST, item="b")
    assert "asked for at the next look" in ingested.look_at(6)
    asked = ingested.look_at(6)
    assert asked.startswith("ingest ")
    # It failed: the schedule tries again, the sensor does not.
    assert "was asked for, and is still due" in ingested.look_at(6)
    write_day(ingested.source, LAST, item="c")
    assert "asked for at the next look" in ingested.look_at(6)
    assert ingested.look_at(6) == asked


def test_a_day_that_changes_to_and_fro_is_asked_for_each_time(ingested: Looks) -> None:
    day = LAST - dt.timedelta(days=3)
    for item in ("b", "a", "b"):
        write_day(ingested.source, day, item)
        assert "late or corrected 2024-03-10: asked for at the" in ingested.look_at(6)
        assert ingested.look_at(6).startswith("ingest ")
        ingested.ingest(day)
        assert ingested.look_at(6) == "nothing new"


def test_it_waits_while_a_command_has_the_home(ingested: Looks) -> None:
    write_day(ingested.source, LAST)
    with home_lock(ingested.folder, "batch-predictions run"):
        # A process that holds the lock alone has every share: as if another process asked.
        from batch_predictions.core import home_lock as module

        module._held_alone.clear()
        assert "batch-predictions run" in ingested.look_at(6)
    assert "asked for at the next look" in ingested.look_at(6)
