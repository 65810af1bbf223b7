"""Requests to a store and bytes of objects are counted, refused ones too."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from batch_predictions.core import object_store
from batch_predictions.core.object_store import ObjectConflictError, ObjectFolder
from batch_predictions.core.traffic import PAGE, TrafficCounter

PART = object_store._CHUNK_BYTES


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> ObjectFolder:
    store = pytest.importorskip("obstore.store", reason="pip install -e '.[objectstore]'")
    memory = store.MemoryStore()
    monkeypatch.setattr(object_store, "open_object_store", lambda url: memory)
    return ObjectFolder("s3://bucket/prefix", "a test", RuntimeError)


def test_every_method_is_counted(folder: ObjectFolder, tmp_path: Path) -> None:
    e_tag = folder.put("a/x", b"123", if_absent=True)
    with pytest.raises(ObjectConflictError):
        folder.put("a/x", b"4567", if_absent=True)
    # A refused write looks whether the object has its bytes already.
    assert folder.traffic.take() == ({"put": 2, "get": 1}, 7, 3)
    assert folder.e_tag("a/x") == e_tag and folder.e_tag("none") is None
    assert folder.get("a/x") == (b"123", e_tag) and folder.get("none") is None
    assert folder.download("a/x", tmp_path / "x") and not folder.download("none", tmp_path / "y")
    assert folder.traffic.take() == ({"head": 2, "get": 4}, 0, 6)
    assert len(folder.list()) == 1 and folder.list("none") == {}
    folder.list_level()
    folder.list_after("a/", "a/b")
    folder.delete("a/x")
    assert folder.traffic.take() == ({"list": 4, "delete": 1}, 0, 0)


def test_large_objects_are_uploaded_in_parts(folder: ObjectFolder, tmp_path: Path) -> None:
    for size, requests in ((0, 1), (PART, 1), (PART + 1, 4), (2 * PART + 1, 5)):
        (tmp_path / "file").write_bytes(bytes(size))
        folder.upload(tmp_path / "file", "x")
        assert folder.traffic.take() == ({"put": requests}, size, 0)
    folder.put("x", bytes(PART + 1))
    # A write with a condition is one request, whatever its size.
    folder.put("y", bytes(PART + 1), if_absent=True)
    assert folder.traffic.take().requests == {"put": 5}


def test_lists_have_pages_and_threads_count_together() -> None:
    counter = TrafficCounter()
    for entries in (0, 1, PAGE, PAGE + 1):
        counter.add_list(entries)
    assert counter.take().requests == {"list": 5}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: counter.add_put(number), range(1000)))
    assert counter.take() == ({"put": 1000}, 499_500, 0)
    assert counter.take() == ({}, 0, 0)
