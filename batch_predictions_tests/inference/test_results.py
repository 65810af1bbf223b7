"""Result files: their encodings, and files that were truncated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_predictions.inference.pools.engine import score
from batch_predictions.inference.results import StagingManifest, digest_path, result_path
from batch_predictions.inference.validation import validate
from batch_predictions.settings import InferenceSettings
from batch_predictions.warehouse.schema_sql import WarehouseError
from batch_predictions_tests.worlds.engine import DOUBLES, DoublingScorer, Staging, read_rows


@pytest.fixture
def result_rows(monkeypatch: pytest.MonkeyPatch) -> pa.RecordBatch:
    """A result with floats, text, a dictionary column, and structs in lists."""
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
    monkeypatch.setattr(DoublingScorer, "predict", lambda self, staged: rows)
    return rows


def test_text_has_dictionaries_and_floats_byte_stream_split(
    stage: Staging, one_worker: InferenceSettings, result_rows: pa.RecordBatch
) -> None:
    path = stage(2)
    score(path, one_worker)
    file = result_path(path, StagingManifest.read(path).shards[0])
    group = pq.ParquetFile(file).metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]

    def encoded_as(encoding: str) -> set[str]:
        return {column.path_in_schema for column in columns if encoding in column.encodings}

    text_columns = {
        "id",
        "name",
        "long",
        "entries.list.element.why",
        "entries.list.element.tags.list.element",
    }
    assert encoded_as("RLE_DICTIONARY") >= text_columns
    assert encoded_as("BYTE_STREAM_SPLIT") == {"score", "entries.list.element.score"}
    assert not any(column.is_stats_set for column in columns)
    rows = [
        {key: value for key, value in row.items() if key != "excluded"} for row in read_rows(file)
    ]
    assert rows == result_rows.to_pylist()


def test_duckdb_reads_the_encoded_values(
    stage: Staging, one_worker: InferenceSettings, result_rows: pa.RecordBatch
) -> None:
    import duckdb

    path = stage(2)
    score(path, one_worker)
    file = result_path(path, StagingManifest.read(path).shards[0])
    rows: list[Any] = duckdb.execute(f"select name, score, entries from '{file}'").fetchall()
    assert [row[:2] for row in rows] == [("x", 0.1), ("x", 1 / 3)]
    assert rows[0][2] == result_rows["entries"][0].as_py()


@pytest.mark.parametrize("length", [0, 6, 0.5, -1])
def test_a_truncated_result_is_scored_again(
    stage: Staging, one_worker: InferenceSettings, length: float
) -> None:
    path = stage(8)
    score(path, one_worker)
    file = result_path(path, StagingManifest.read(path).shards[1])
    content = file.read_bytes()
    end = round(length * len(content)) if 0 < length < 1 else int(length)
    file.write_bytes(content[:end])
    summary = score(path, one_worker)
    assert (summary.scored_rows, summary.reused_rows) == (4, 4)
    assert file.read_bytes() == content


def test_a_kept_result_with_other_bytes_is_scored_again(
    stage: Staging, one_worker: InferenceSettings
) -> None:
    path = stage(8)
    score(path, one_worker)
    file = result_path(path, StagingManifest.read(path).shards[1])
    content = file.read_bytes()
    for start in range(0, len(content), 64):
        zeroed = content[:start] + bytes(64) + content[start + 64 :]
        file.write_bytes(zeroed[: len(content)])
        assert score(path, one_worker).scored_rows == (4 if zeroed != content else 0)
        assert file.read_bytes() == content


@pytest.mark.parametrize("digest", [None, b"", b"0" * 64, b"\xff"])
def test_a_result_without_its_hash_is_scored_again(
    stage: Staging, one_worker: InferenceSettings, digest: bytes | None
) -> None:
    path = stage(8)
    score(path, one_worker)
    file = digest_path(result_path(path, StagingManifest.read(path).shards[1]))
    expected = file.read_bytes()
    if digest is None:
        file.unlink()
    else:
        file.write_bytes(digest)
    assert score(path, one_worker).scored_rows == 4
    assert file.read_bytes() == expected


def test_results_that_were_damaged_after_scoring_are_not_loaded(
    stage: Staging, one_worker: InferenceSettings
) -> None:
    path = stage(8)
    score(path, one_worker)
    file = result_path(path, StagingManifest.read(path).shards[1])
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(WarehouseError, match=rf"{file.name} is missing or damaged.*again"):
        validate(stage.warehouse, DOUBLES, path, (), {})
