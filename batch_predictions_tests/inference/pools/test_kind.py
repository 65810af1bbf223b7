"""Instances are threads, or processes where the scorer, its rows and the memory say so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from batch_predictions.inference.pools import pool_factory as kinds
from batch_predictions.inference.pools.pool_factory import PROCESS_MIB, free_mib, worker_kind
from batch_predictions_tests.worlds.pool_fixtures import (
    FailingScorer,
    PartlyPythonScorer,
    ProcessScorer,
)


def test_many_rows_repay_the_start_of_processes() -> None:
    class ByModel(FailingScorer):
        @classmethod
        def process_rows(cls, model: Path | None) -> int | None:
            return 40 if model == Path("slow") else None

    def kind(scorer: type[FailingScorer], model: str, rows: int, instances: int = 2) -> str:
        return worker_kind(scorer, Path(model), rows, instances)

    assert kind(FailingScorer, "slow", 10**9) == "threads"
    assert kind(ProcessScorer, "slow", 1) == "processes"
    assert kind(PartlyPythonScorer, "slow", 39) == "threads"
    assert kind(PartlyPythonScorer, "slow", 40) == "processes"
    assert kind(PartlyPythonScorer, "slow", 22, instances=16) == "processes"
    assert kind(ByModel, "slow", 40) == "processes"
    assert kind(ByModel, "fast", 10**9) == "threads"


def test_an_unknown_kind_of_worker_is_refused() -> None:
    class FibreScorer(FailingScorer):
        workers = "fibres"

    with pytest.raises(ValueError, match="threads or processes"):
        worker_kind(FibreScorer, None, 1, 2)


def test_processes_for_which_the_memory_does_not_suffice_are_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kinds, "free_mib", lambda: 4.0 * PROCESS_MIB)
    assert worker_kind(PartlyPythonScorer, None, 10**9, 4) == "processes"
    assert worker_kind(PartlyPythonScorer, None, 10**9, 5) == "threads"
    assert worker_kind(ProcessScorer, None, 10**9, 5) == "processes", "declared, whatever it takes"


def test_free_memory_is_that_of_the_machine_or_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = SimpleNamespace(available=4096 * 2**20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(kinds, "CGROUP", tmp_path)
    assert free_mib() == 4096
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1\n")
    (tmp_path / "memory.stat").write_text(f"anon 12345\ninactive_file {100 * 2**20}\n")
    assert free_mib() == 4096
    (tmp_path / "memory.max").write_text(f"{2048 * 2**20}\n")
    (tmp_path / "memory.current").write_text(f"{548 * 2**20}\n")
    assert free_mib() == 1600
