"""Modules of `benchmarks/`, for tests that run a small version of a benchmark."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def import_benchmark(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of `benchmarks/`, whose modules import each other by their plain names."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module(name)
