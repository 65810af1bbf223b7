"""The engine's benchmark in parts: times of finished modes are kept, missing ones are measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from batch_predictions.cli.commands.benchmark_command import load_benchmark

SECONDS = {"bare": 10.0, "one": 11.0, "two": 6.0, "ray": 7.0}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The modes that were run, in order; a fake scores nothing and returns times."""
    module = load_benchmark("engine")
    modes: list[str] = []

    def run(mode: str, path: Path) -> dict[str, Any]:
        modes.append(mode)
        wall = SECONDS[mode] + len(modes) / 1000
        seconds = {f"{kind}_seconds": wall for kind in ("wall", "cpu", "others_cpu")}
        return {**seconds, "shards": 4, "results": None if mode == "bare" else "hash"}

    def kill_and_resume(path: Path) -> dict[str, Any]:
        modes.append("killed")
        return {"shards": 4, "scored_when_killed": 2, "scored_by_next_run": 2}

    monkeypatch.setattr(module, "_run", run)
    monkeypatch.setattr(module, "_kill_and_resume", kill_and_resume)
    workload = {"seconds": 60, "users": 100, "stage_seconds": 1.0, "manifest": "manifest.json"}
    (tmp_path / "made.json").write_text(json.dumps(workload), encoding="utf-8")
    return modes


def test_repeats_alternate_the_modes_and_a_second_call_runs_nothing(
    runs: list[str], tmp_path: Path
) -> None:
    measure = load_benchmark("engine").measure
    result = measure(60, repeats=2, folder=tmp_path)
    assert runs == ["bare", "one", "two", "bare", "one", "two", "killed"]
    assert result["overhead"] == pytest.approx(1.1, abs=0.01)
    assert result["two_workers"] == pytest.approx(11 / 6, abs=0.01)
    assert result["same_bytes_whatever_way"] and result["repeats"]["bare"] == 2
    assert measure(60, repeats=2, folder=tmp_path)["times"] == result["times"]
    assert len(runs) == 7


def test_modes_can_be_run_one_at_a_time(runs: list[str], tmp_path: Path) -> None:
    measure = load_benchmark("engine").measure
    assert "overhead" not in measure(60, repeats=1, folder=tmp_path, only=["two"])
    result = measure(60, repeats=1, folder=tmp_path, only=["ray"])
    assert runs == ["two", "ray"]
    assert result["ray_cpu_to_local"] == pytest.approx(7 / 6, abs=0.01)
    measure(60, repeats=1, folder=tmp_path)
    assert runs == ["two", "ray", "bare", "one", "killed"]


def test_another_duration_and_unknown_modes_are_refused(runs: list[str], tmp_path: Path) -> None:
    measure = load_benchmark("engine").measure
    with pytest.raises(ValueError, match="was written for --seconds 60, not 30"):
        measure(30, folder=tmp_path)
    with pytest.raises(ValueError, match="unknown modes three"):
        measure(60, folder=tmp_path, only=["three"])
    assert runs == []
