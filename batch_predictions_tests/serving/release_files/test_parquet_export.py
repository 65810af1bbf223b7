"""Releases as Parquet files: the rows of the store, whole, with their hashes."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path

import duckdb
import pytest

from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.release.context_tables import ContextChoice
from batch_predictions.serving.release_files import parquet_export
from batch_predictions.serving.release_files.export import BATCH_ROWS
from batch_predictions.serving.release_files.parquet_export import (
    MANIFEST_NAME,
    ParquetExport,
    export_parquet,
)
from batch_predictions.serving.store.snapshot import ReadStore
from batch_predictions.serving.store.store import store_url
from batch_predictions_tests.worlds.serving import DAY, ServingWorld
from batch_predictions_tests.worlds.table_rows import write_events


def export(world: ServingWorld, folder: Path, keep: int = 2) -> ParquetExport:
    with ReadStore(store_url(world.settings)) as store:
        return export_parquet(store, folder, keep)


def test_the_files_have_the_rows_of_the_release(
    world: ServingWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_export, "GROUP_ROWS", BATCH_ROWS)
    world.predict()
    write_events(world.warehouse, "date user_id item_id event_type", [(DAY, "u1", "a1", "view")])
    world.publish(DAY, context=ContextChoice(history_items=2, event_types=("view",)))
    exported = export(world, tmp_path)
    manifest = exported.manifest
    assert exported.is_new and exported.path == tmp_path / manifest.release_id
    assert set(manifest.tables) == {
        *("recommendations", "demographic_recommendations", "user_history", "items", "users")
    }
    with Lookup(world.settings) as lookup:
        for name in ("recommendations", "demographic_recommendations", "user_history"):
            path = Path(exported.path) / manifest.tables[name].file
            rows = duckdb.connect().sql(f"from '{path}'").to_arrow_table().to_pylist()
            expected = lookup.rows(name)
            assert len(rows) == manifest.tables[name].rows == len(expected) > 0
            for row in rows:
                if "event_types" in row:
                    assert row.pop("event_types") == '["view"]'
                    [stored] = expected
                    stored.pop("event_types")
            assert sorted(map(repr, rows)) == sorted(
                repr({key: row[key] for key in rows[0]}) for row in expected
            )
    for table in manifest.tables.values():
        content = (Path(exported.path) / table.file).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (table.sha256, table.bytes)


def test_an_export_is_written_once_and_old_ones_go(world: ServingWorld, tmp_path: Path) -> None:
    for number in range(3):
        world.release(DAY + dt.timedelta(days=number), f"v{number}x")
        exported = export(world, tmp_path)
        assert exported.is_new and not export(world, tmp_path).is_new
    names = sorted(path.name for path in tmp_path.glob("20*"))
    assert len(names) == 2 and names[-1] == exported.manifest.release_id
    # Half copied, and half removed: it is written again, with the same bytes.
    table = Path(exported.path) / "recommendations.parquet"
    content = table.read_bytes()
    table.write_bytes(content[:-1])
    assert export(world, tmp_path).is_new and table.read_bytes() == content
    (Path(exported.path) / MANIFEST_NAME).unlink()
    assert export(world, tmp_path).is_new and table.read_bytes() == content
    assert not list(tmp_path.glob(".draft-*"))
