"""The files of results: how they are encoded, and what is made of what was cut short."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_predictions.inference.engine import score
from batch_predictions.inference.staging import StagingManifest, result_path
from batch_predictions.settings import InferenceSettings
from batch_predictions_tests.worlds.engine import Doubler, Staging, rows_of

ONE = InferenceSettings(workers=1, device="cpu")


@pytest.fixture
def offers(monkeypatch: pytest.MonkeyPatch) -> pa.RecordBatch:
    """A result with scores, texts, a column that comes as a dictionary, and structs in lists."""
    entry = {"score": 0.5, "why": "because", "tags": ["a", "b"]}
    rows = pa.RecordBatch.from_pydict(
        {
            "id": ["0", "1"],
            "name": pa.array(["x", "x"]).dictionary_encode(),
            "score": np.array([0.1, 1 / 3]),
            "n": [1, 2],
            "long": pa.array(["y", "y"], pa.large_string()),
            "entries": [[entry], None],
        }
    )
    monkeypatch.setattr(Doubler, "answer", lambda self, given: rows)
    return rows


def test_texts_have_dictionaries_and_floats_are_split_by_bytes(
    stage: Staging, offers: pa.RecordBatch
) -> None:
    path = stage(2)
    score(path, ONE)
    file = result_path(path, StagingManifest.read(path).shards[0])
    group = pq.ParquetFile(file).metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]

    def of(wanted: str) -> set[str]:
        return {each.path_in_schema for each in columns if wanted in each.encodings}

    texts = {
        "id",
        "name",
        "long",
        "entries.list.element.why",
        "entries.list.element.tags.list.element",
    }
    assert of("RLE_DICTIONARY") >= texts
    assert of("BYTE_STREAM_SPLIT") == {"score", "entries.list.element.score"}
    assert not any(each.is_stats_set for each in columns)
    own = [{key: value for key, value in row.items() if key != "excluded"} for row in rows_of(file)]
    assert own == offers.to_pylist()


def test_duckdb_reads_them_as_they_were(stage: Staging, offers: pa.RecordBatch) -> None:
    import duckdb

    path = stage(2)
    score(path, ONE)
    file = result_path(path, StagingManifest.read(path).shards[0])
    found: list[Any] = duckdb.sql(f"select name, score, entries from '{file}'").fetchall()
    assert [row[:2] for row in found] == [("x", 0.1), ("x", 1 / 3)]
    assert found[0][2] == offers["entries"][0].as_py()


@pytest.mark.parametrize("kept", [0, 6, 0.5, -1])
def test_a_result_that_was_cut_short_is_made_again(stage: Staging, kept: float) -> None:
    path = stage(8)
    score(path, ONE)
    file = result_path(path, StagingManifest.read(path).shards[1])
    whole = file.read_bytes()
    length = round(kept * len(whole)) if 0 < kept < 1 else int(kept)
    file.write_bytes(whole[:length])
    done = score(path, ONE)
    assert (done.scored, done.kept) == (4, 4)
    assert file.read_bytes() == whole


def test_drafts_of_killed_workers_go_and_those_at_work_stay(stage: Staging) -> None:
    path = stage(4)
    file = result_path(path, StagingManifest.read(path).shards[0])
    file.parent.mkdir()
    old, young = (file.with_name(f".{file.name}-{name}") for name in ("old", "young"))
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (1e9, 1e9))
    score(path, ONE)
    assert sorted(each.name for each in file.parent.iterdir()) == sorted([young.name, file.name])
