"""Releases are swapped beside reading processes: `benchmarks/swaps.py`, small."""

from __future__ import annotations

import json
import os

import pytest

from batch_predictions_tests.worlds.benchmark_scripts import BENCHMARKS
from batch_predictions_tests.worlds.postgres import POSTGRES
from batch_predictions_tests.worlds.programs import run_python

pytestmark = pytest.mark.slow


def test_no_lookup_fails_or_is_mixed_while_releases_are_swapped() -> None:
    script = [str(BENCHMARKS / "swaps.py"), "--swaps", "9", "--readers", "1"]
    result = json.loads(run_python(*script).stdout)
    stores = ["sqlite", "release_files", *(["postgresql"] if os.environ.get(POSTGRES) else [])]
    for store in stores:
        figures = result[store]
        assert figures["swaps"] == 9
        assert figures["failed"] == figures["mixed"] == 0
        assert figures["lookups"] > 0
