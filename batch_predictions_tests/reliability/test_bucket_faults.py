"""A home in a bucket whose writers are killed, lose answers, and write one partition at once."""

from __future__ import annotations

import pytest

from batch_predictions_tests.worlds.benchmark_scripts import import_benchmark


@pytest.mark.slow
def test_rows_of_a_bucket_are_whole_after_kills_and_lost_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("deltalake", reason="pip install -e '.[lakehouse]'")
    faults = import_benchmark("bucket_faults", monkeypatch)
    result = faults.measure(kills=4, faults=2, contests=2, removals=0, seed=1)
    assert [part["problems"] for part in result.values() if "problems" in part] == [[], [], []]
    assert result["faults"]["faults"]["lost"] == 2
