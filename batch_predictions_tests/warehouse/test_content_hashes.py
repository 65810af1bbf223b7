"""Hashes of partitions follow their bytes, and a file is read once for each version of it."""

from __future__ import annotations

import hashlib
import os
import shutil

import pytest

from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.content_hashes import FILE_NAME, content_hashes
from batch_predictions_tests.worlds.pets import DAY, NEXT, PETS, ROW


def read_files(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A list to which every file that is hashed from now on is added."""
    read: list[object] = []
    original = hashlib.file_digest

    def digest(file: object, name: str) -> object:
        read.append(file)
        return original(file, name)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", digest)
    return read


def test_a_file_is_hashed_once(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse.replace_partition(PETS, DAY, ROW)
    read = read_files(monkeypatch)
    hashes = content_hashes(warehouse, PETS, [DAY, NEXT])
    content = warehouse.path(PETS, DAY).read_bytes()
    assert hashes == {DAY: hashlib.sha256(content).hexdigest()}
    assert content_hashes(warehouse, PETS, [DAY]) == hashes and len(read) == 1
    warehouse.replace_partition(PETS, NEXT, ROW)
    assert {*content_hashes(warehouse, PETS, [DAY, NEXT])} == {DAY, NEXT} and len(read) == 2


def test_other_bytes_of_the_same_size_and_time_have_another_hash(warehouse: Warehouse) -> None:
    warehouse.replace_partition(PETS, DAY, ROW)
    path = warehouse.path(PETS, DAY)
    before = content_hashes(warehouse, PETS, [DAY])
    stat = path.stat()
    content = path.read_bytes()
    path.write_bytes(bytes(255 - byte for byte in content))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    assert content_hashes(warehouse, PETS, [DAY]) != before
    path.write_bytes(content)
    assert content_hashes(warehouse, PETS, [DAY]) == before


def test_a_copy_has_the_same_hash(warehouse: Warehouse) -> None:
    warehouse.replace_partition(PETS, DAY, ROW)
    before = content_hashes(warehouse, PETS, [DAY])
    path = warehouse.path(PETS, DAY)
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").replace(path)
    assert content_hashes(warehouse, PETS, [DAY]) == before


@pytest.mark.parametrize("content", ["", "[]", "{", "null"])
def test_a_damaged_record_of_hashes_is_made_again(warehouse: Warehouse, content: str) -> None:
    warehouse.replace_partition(PETS, DAY, ROW)
    before = content_hashes(warehouse, PETS, [DAY])
    (warehouse.folder / FILE_NAME).write_text(content)
    assert content_hashes(warehouse, PETS, [DAY]) == before
