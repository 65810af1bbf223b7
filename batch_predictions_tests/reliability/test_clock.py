"""A clock that is a year ahead or a month behind: `benchmarks/clock.py`, small."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest

from batch_predictions.serving.release.release_pruning import register_publisher
from batch_predictions.warehouse.partition_files import scratch_dir
from batch_predictions_tests.worlds.benchmark_scripts import import_benchmark, script_environment
from batch_predictions_tests.worlds.serving import (
    DAY,
    current_release_id,
    list_release_ids,
    open_world,
)
from batch_predictions_tests.worlds.small_home import write_small_home

pytestmark = pytest.mark.slow

SCRIPT = """
import datetime as dt, sys
from pathlib import Path
from batch_predictions.serving.release.release_pruning import is_dead
from batch_predictions_tests.worlds.small_home import write_small_home

world = write_small_home(Path(sys.argv[1]), "new")
with world.store.write() as db:
    print(dt.date.today(), is_dead(world.store, db, sys.argv[2]))
"""


@pytest.mark.parametrize("days", [365, -31])
def test_another_clock_gives_equal_rows_and_removes_nothing_that_is_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    clock = import_benchmark("clock", monkeypatch)
    if clock.find_library() is None:
        pytest.skip("libfaketime is not installed (Debian: faketime)")
    undisturbed = write_small_home(tmp_path / "undisturbed", "new")
    home = tmp_path / "home"
    world = write_small_home(home, "old")
    offset = tmp_path / "offset"
    clock.set_clock(offset, days)
    with scratch_dir(home / "warehouse") as draft, register_publisher(world.store) as builder:
        process = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(home), builder],
            env=script_environment(clock.clock_variables(offset)),
            capture_output=True,
            text=True,
        )
        assert process.returncode == 0, process.stderr
        today, is_dead = process.stdout.split()
        assert is_dead == "False"
        assert draft.is_dir()
    # The clock of that process was another one.
    assert abs((dt.date.fromisoformat(today) - dt.date.today()).days - days) <= 1
    assert current_release_id(open_world(home)) == current_release_id(undisturbed)
    assert len(list_release_ids(world)) == 2
    # A write under the true clock finds nothing of the future to keep or to remove.
    world.predict(DAY, "old")
    assert world.publish(DAY).current
