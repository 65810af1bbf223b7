"""Modules of `benchmarks/`, for tests that run a small version of a benchmark."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


def import_benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of `benchmarks/`, whose modules import each other by their plain names."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module(name)


def script_environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process that imports modules of the tests and of the benchmarks."""
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{BENCHMARKS}", **(variables or {})}
