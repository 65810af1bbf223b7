"""A run that signals stop at random moments ends as they say, and the next one goes on."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from batch_predictions.serving.lookup import Lookup
from batch_predictions_tests.worlds.home_processes import processes_left, unfinished_runs
from batch_predictions_tests.worlds.retail_fixtures import environment, run_json, write_shop

pytestmark = pytest.mark.slow

LAST = dt.date(2024, 3, 17)
"""A Sunday: its run trains, too."""
STOPS = {"in_process": 5, "multiprocess": 2}
"""By the executor of the steps of the runs that are stopped."""


@dataclass
class Shop:
    """A home whose first days are released, beside a twin that nothing disturbs."""

    root: Path

    def env(self, home: Path, executor: str = "in_process") -> dict[str, str]:
        return environment(
            home,
            self.root / "source",
            BATCH_PREDICTIONS_RECOMMENDER__TWO_STAGE="false",
            BATCH_PREDICTIONS_DEMAND__CANDIDATES='["linear_regression"]',
            BATCH_PREDICTIONS_EXECUTION__EXECUTOR=executor,
        )

    def run(self, home: Path, day: dt.date) -> Any:
        return run_json("run", "--date", str(day), env=self.env(home), cwd=self.root)

    def start(self, home: Path, executor: str = "in_process") -> subprocess.Popen[str]:
        """Starts the run of the last day."""
        return subprocess.Popen(
            [sys.executable, "-m", "batch_predictions.cli", "run", "--date", str(LAST)],
            env=self.env(home, executor),
            cwd=self.root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def tables(home: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of the partitions of features and predictions."""
    folder = home / "warehouse"
    paths = [*folder.glob("features/*/*/*.parquet"), *folder.glob("predictions/*/*/*.parquet")]
    return {
        str(path.relative_to(folder)): pq.read_table(path, partitioning=None).to_pylist()
        for path in sorted(paths)
    }


def served(home: Path) -> str:
    """All rows of the current release."""
    with Lookup(f"sqlite:///{home / 'serving.sqlite'}") as lookup:
        names = sorted(entry["table"] for entry in lookup.tables())
        return json.dumps({name: lookup.rows(name) for name in names}, default=str)


def stop(shop: Shop, home: Path, executor: str, line: int, generator: random.Random) -> bool:
    """Sends a signal to the run when it has written some lines; whether it had not ended.

    It goes to the process, as from a supervisor, or to its group, as from a terminal.
    """
    number = generator.choice([signal.SIGINT, signal.SIGTERM])
    send = generator.choice([os.kill, os.killpg])
    with shop.start(home, executor) as process:
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(line)]
        send(process.pid, number)
        lines += process.stderr.readlines()
    assert process.returncode in (128 + number, 0), lines[-5:]
    assert not any("Traceback" in text for text in lines)
    said = [text for text in lines if "stopped by" in text]
    assert [number.name in text for text in said] == [True] * bool(process.returncode)
    assert processes_left(home) == []
    assert unfinished_runs(home) == 0
    return process.returncode != 0


@pytest.mark.parametrize("executor", ["in_process", "multiprocess"])
def test_a_run_that_is_stopped_at_any_moment_goes_on(tmp_path: Path, executor: str) -> None:
    shop = Shop(tmp_path)
    home, twin = tmp_path / "home", tmp_path / "twin"
    write_shop(tmp_path / "source", days=22, last=LAST)
    shop.run(home, LAST - dt.timedelta(days=1))
    shutil.copytree(home, twin)
    old = served(home)
    with shop.start(twin) as undisturbed:
        assert undisturbed.stderr is not None
        count = len(undisturbed.stderr.readlines())
    assert undisturbed.returncode == 0 and served(twin) != old
    generator = random.Random(5)
    stopped = 0
    # Processes of steps write less, and take longer.
    last = count if executor == "in_process" else count // 4
    for line in sorted(generator.sample(range(1, last), STOPS[executor])):
        stopped += stop(shop, home, executor, line, generator)
        assert served(home) in (old, served(twin))
    assert stopped
    shop.run(home, LAST)
    assert served(home) == served(twin)
    assert tables(home) == tables(twin)
