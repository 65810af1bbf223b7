"""What the `score` step says while it is at work."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from batch_predictions.inference.dagster import steps
from batch_predictions.settings import InferenceSettings
from batch_predictions_tests.worlds.engine import Doubler, Staging

LINE = re.compile(r"doubles 2024-03-03: (\d+) of 400 rows, (\d+) rows/s, (\d+) s left")


class Clock:
    """Seconds that pass only when told to."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(steps, "time", clock)
    return clock


def said_by_scoring(path: Any, **inference: Any) -> list[str]:
    said: list[str] = []
    context: Any = SimpleNamespace(log=SimpleNamespace(info=said.append))
    settings: Any = SimpleNamespace(inference=InferenceSettings(device="cpu", **inference))
    declared: Any = SimpleNamespace(name="doubles")
    steps.score(context, declared, settings, {"2024-03-03": str(path)})
    return said


def test_progress_comes_every_ten_seconds_with_rows_pace_and_time_left(
    stage: Staging, clock: Clock
) -> None:
    path = stage(400)  # 100 shards of 4 rows.

    def takes(ids: list[str]) -> None:
        clock.now += 0.5

    Doubler.before.append(takes)
    said = said_by_scoring(path, workers=1)
    first, *lines, last = said
    assert first == "doubles 2024-03-03: 400 rows to score by 1 instance on cpu"
    # 50 seconds of work: a line each time ten have passed, none for the other shards. The worker is
    # at its next shard already when the last one is counted, so a line may be a shard or two off.
    told = [LINE.fullmatch(line) for line in lines]
    assert 4 <= len(told) <= 5
    for number, line in enumerate(told, 1):
        assert line is not None, lines
        rows, pace, left = map(int, line.groups())
        assert abs(rows - 80 * number) <= 16
        assert pace in (7, 8)
        assert abs(left - 10 * (5 - number)) <= 3
    assert last.startswith("doubles 2024-03-03: 400 rows scored in ")
    assert "1 instance on cpu), 0 kept from before; of the instances' time opening" in last


def test_a_short_run_says_its_begin_and_its_end(stage: Staging, clock: Clock) -> None:
    path = stage(40)
    assert len(said_by_scoring(path)) == 2
    (only,) = said_by_scoring(path)
    assert only == "doubles 2024-03-03: nothing to score, all 40 results were kept"
