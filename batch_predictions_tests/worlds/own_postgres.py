"""A PostgreSQL server of a test's own, which it may stop and start again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from batch_predictions_tests.worlds.benchmark_scripts import ROOT, import_benchmark
from batch_predictions_tests.worlds.postgres import POSTGRES

_SHOW_AND_WAIT = f"import os, sys; print(os.environ['{POSTGRES}'], flush=True); sys.stdin.read()"


@contextmanager
def own_postgres(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Any]]:
    """The URL of the server, and its `Database` (benchmarks/weeks_database.py).

    Skips where the environment names no PostgreSQL, as `empty_postgres` does.
    """
    if not os.environ.get(POSTGRES):
        pytest.skip(f"{POSTGRES} names no PostgreSQL (.ci/with-postgres starts one)")
    process = subprocess.Popen(
        [str(ROOT / ".ci" / "with-postgres"), sys.executable, "-c", _SHOW_AND_WAIT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url, "the server has not started"
        yield url, import_benchmark("weeks_database", monkeypatch).Database(url)
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()
