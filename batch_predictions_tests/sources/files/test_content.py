"""A gzip file with a flipped bit is refused, wherever the bit is."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from batch_predictions.sources.base import SourceError
from batch_predictions.sources.files.content import count_lines, read_head, verify_gzip
from batch_predictions_tests.worlds.source_folders import HEADER, SourceFolder

CONTENT = gzip.compress((HEADER + "".join(f"u{n},i,2024-01-03,1\n" for n in range(500))).encode())


@pytest.mark.parametrize("position", range(10, len(CONTENT), len(CONTENT) // 40))
def test_a_flipped_bit_is_found(tmp_path: Path, position: int) -> None:
    damaged = bytearray(CONTENT)
    damaged[position] ^= 0x10
    path = tmp_path / "interactions.csv.gz"
    path.write_bytes(damaged)
    with pytest.raises(SourceError, match=r"interactions\.csv\.gz is not a complete gzip file"):
        verify_gzip(path, path.name)


def test_the_ingest_refuses_it(tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv.gz", CONTENT)
    assert sum(result.counts.accepted for result in shop.ingest().values()) == 500
    shop.write("interactions.csv.gz", CONTENT[:-8] + bytes(4) + CONTENT[-4:])
    with pytest.raises(SourceError, match=r"CRC check failed.*write it again"):
        shop.ingest()


def test_a_query_over_it_is_refused(tmp_path: Path) -> None:
    queries = {"interactions": "select * from 'sales.csv.gz'"}
    shop = SourceFolder(tmp_path, queries=queries)
    shop.write("sales.csv.gz", CONTENT[:-8] + bytes(4) + CONTENT[-4:])
    with pytest.raises(SourceError, match=r"sales\.csv\.gz is not a complete gzip file"):
        shop.ingest()


@pytest.mark.parametrize("read", [count_lines, partial(read_head, size=9)])
def test_a_file_that_cannot_be_opened_is_not_called_damaged(
    tmp_path: Path, read: Callable[[Path, str], object]
) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(OSError, match=r"folder\.csv"):
        read(tmp_path / "folder.csv", "folder.csv")


def test_several_members_and_other_formats(tmp_path: Path) -> None:
    path = tmp_path / "two.csv.gz"
    path.write_bytes(CONTENT + CONTENT)
    verify_gzip(path, path.name)
    other = tmp_path / "a.csv"
    other.write_bytes(b"not gzip")
    verify_gzip(other, other.name)
