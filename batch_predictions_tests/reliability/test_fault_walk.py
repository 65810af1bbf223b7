"""Commands on damaged homes end with one line, or work: `benchmarks/fault_walk.py`, small."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_predictions_tests.worlds.benchmark_scripts import import_benchmark
from batch_predictions_tests.worlds.small_home import write_small_home

pytestmark = pytest.mark.slow

CASES = [
    ("state.yaml unreadable", "doctor", True),
    ("settings are no YAML", "lookup", True),
    ("prediction truncated", "lookup", False),
    ("manifest of a model unreadable", "doctor", True),
    ("serving.sqlite unreadable", "lookup", True),
    ("serving.sqlite unreadable", "models", False),
]
"""Faults, commands, and whether a command fails."""


def test_a_command_on_a_damaged_home_ends_with_one_line_or_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = import_benchmark("fault_walk", monkeypatch)
    base = walk.Shop(tmp_path / "base")
    write_small_home(base.home, "a").store.close()
    base.source.mkdir()
    faults = {fault.name: fault for fault in walk.FAULTS}
    for name, command, fails in CASES:
        shop = walk.copy_shop(base, tmp_path / "copy")
        faults[name].damage(shop)
        outcome = walk.judge(faults[name], command, shop.execute(*walk.COMMANDS[command]))
        assert outcome.violation is None, f"{name}, {command}: {outcome}"
        assert bool(outcome.code) == fails, f"{name}, {command}: {outcome}"
