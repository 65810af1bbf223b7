"""The digest of a partition is recorded when it is written, and is that of its bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from batch_predictions.warehouse import Warehouse, partition_files
from batch_predictions.warehouse.digests import FOLDER, DamagedPartitionError
from batch_predictions_tests.worlds.pets import DAY, NEXT, PETS, ROW


@pytest.fixture
def path(warehouse: Warehouse) -> Path:
    """The file of a partition."""
    return warehouse.replace_partition(PETS, DAY, ROW).path


def lines_of(warehouse: Warehouse) -> Path:
    return warehouse.folder / FOLDER / f"{PETS.qualified}.jsonl"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_digest_is_recorded_and_no_file_is_read_for_it(
    warehouse: Warehouse, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = warehouse.digests(PETS)

    def fail(*arguments: object) -> None:
        raise AssertionError("a file is read")

    expected = sha256(path)
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", fail)
        assert digests.of_partitions([DAY, NEXT]) == {DAY: expected}
        assert digests.get(path) == expected and digests.is_current(path)
    assert digests.verify(path) == expected


def test_other_bytes_of_the_same_size_and_time_are_damage(warehouse: Warehouse, path: Path) -> None:
    stat, content = path.stat(), path.read_bytes()
    path.write_bytes(bytes(255 - byte for byte in content))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    digests = warehouse.digests(PETS)
    for read in (digests.verify, digests.get, lambda _: digests.of_partitions([DAY])):
        with pytest.raises(DamagedPartitionError, match="not those that were written"):
            read(path)
    assert not digests.is_current(path)
    path.write_bytes(content)
    assert digests.get(path) == sha256(path) and digests.is_current(path)


def test_a_copy_has_the_same_digest(warehouse: Warehouse, path: Path) -> None:
    before = warehouse.digests(PETS).get(path)
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").replace(path)
    assert warehouse.digests(PETS).get(path) == before
    assert warehouse.digests(PETS).is_current(path)


def test_whatever_is_killed_between_digest_and_file_is_no_damage(
    warehouse: Warehouse, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sha256(path)

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(partition_files, "replace_file", killed)
        with pytest.raises(KeyboardInterrupt):
            warehouse.replace_partition(PETS, DAY, f"from ({ROW}) where false")
    assert warehouse.digests(PETS).get(path) == before
    # A line that a power cut left unfinished takes no other with it.
    with lines_of(warehouse).open("a") as lines:
        lines.write('["date=2024')
    warehouse.replace_partition(PETS, NEXT, ROW)
    assert {*warehouse.digests(PETS).of_partitions([DAY, NEXT])} == {DAY, NEXT}
    assert warehouse.digests(PETS).is_current(path)


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '["date=2024-01-02", 1]'])
def test_lines_that_cannot_be_read_are_made_again(
    warehouse: Warehouse, path: Path, content: str
) -> None:
    lines_of(warehouse).write_text(content)
    assert not warehouse.digests(PETS).is_current(path)
    assert warehouse.digests(PETS).get(path) == sha256(path)
    assert warehouse.digests(PETS).is_current(path)


def test_lines_of_old_files_are_removed(warehouse: Warehouse, path: Path) -> None:
    for number in range(300):
        os.utime(path, (number, number))
        assert warehouse.digests(PETS).get(path) == sha256(path)
    assert len(lines_of(warehouse).read_text().splitlines()) < 250
