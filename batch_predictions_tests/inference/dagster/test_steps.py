"""Log lines of the `score` step."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from batch_predictions.inference.dagster import step_reports, steps
from batch_predictions.settings import InferenceSettings, Settings
from batch_predictions_tests.worlds.engine import DoublingScorer, Staging
from batch_predictions_tests.worlds.tiny_platform import DAILY

PROGRESS = re.compile(r"doubles 2024-03-03: (\d+) of 400 rows, (\d+) rows/s, (\d+) s left")


class FakeClock:
    """A clock that a test sets."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(step_reports, "time", clock)
    return clock


def log_lines(path: Any, **inference: Any) -> list[str]:
    """Runs the step; returns the lines that it logs."""
    lines: list[str] = []
    context: Any = SimpleNamespace(log=SimpleNamespace(info=lines.append))
    inference_settings = InferenceSettings(device="cpu", **inference)
    settings = Settings(home=path.parents[3], inference=inference_settings)
    prediction: Any = SimpleNamespace(name="doubles", scorer=DoublingScorer, table=DAILY)
    steps.score(context, prediction, settings, {"2024-03-03": str(path)})
    return lines


def test_progress_is_logged_every_ten_seconds(stage: Staging, clock: FakeClock) -> None:
    path = stage(400)  # 100 shards of 4 rows.

    def advance_clock(ids: list[str]) -> None:
        clock.now += 0.5

    DoublingScorer.hooks.append(advance_clock)
    first, *lines, last = log_lines(path, workers=1)
    assert first == "doubles 2024-03-03: 400 rows to score by 1 instance on cpu"
    # 50 seconds: a line for every ten. The worker scores the next shard while the engine counts
    # the last one, so a line may be a shard or two off.
    matches = [PROGRESS.fullmatch(line) for line in lines]
    assert 4 <= len(matches) <= 5
    for number, match in enumerate(matches, 1):
        assert match is not None, lines
        rows, rate, seconds_left = map(int, match.groups())
        assert abs(rows - 80 * number) <= 16
        assert rate in (7, 8)
        assert abs(seconds_left - 10 * (5 - number)) <= 3
    assert last.startswith("doubles 2024-03-03: 400 rows scored in ")
    assert "1 instance on cpu), 0 reused from earlier runs; share of the instances' time: " in last


def test_a_short_run_logs_its_start_and_its_end(stage: Staging, clock: FakeClock) -> None:
    path = stage(40)
    assert len(log_lines(path)) == 2
    (line,) = log_lines(path)
    assert line == "doubles 2024-03-03: nothing to score, all 40 rows have results"
