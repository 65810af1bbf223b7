"""Reads files to their end, to compare what DuckDB does not: gzip checksums, numbers of lines."""

from __future__ import annotations

import functools
import gzip
import io
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from batch_predictions.sources.base import SourceError

_BYTES_PER_READ = 4 << 20
_LF, _CR = 10, 13
_FORMATS = {".gz": "gzip", ".zst": "zstd"}
_DAMAGE = (OSError, EOFError, zlib.error)


@dataclass(frozen=True)
class LineCount:
    """Numbers of the lines of a file, quoted line breaks included.

    Attributes:
        lines: all lines; a last one without a line break counts.
        empty: lines without a character.
        unended: what follows the last line break, at most a piece of it.
    """

    lines: int
    empty: int
    unended: bytes = field(default=b"", compare=False)


def cut_off_reason(name: str, counted: LineCount) -> str:
    """Why the last line of a file is refused that ends within it."""
    return (
        f"{name} is cut off in its last line, no. {counted.lines}: deliver the complete file again"
    )


def read_head(path: Path, name: str, size: int) -> bytes:
    """The first bytes of a file, decompressed if its name ends with .gz or .zst.

    Args:
        path: the file.
        name: its name in messages.
        size: how many bytes to read; a shorter file has fewer.

    Raises:
        SourceError: the compressed file is damaged or not complete.
    """
    try:
        with _open(path) as file:
            head = file.read(size)
    except _DAMAGE as error:
        if path.suffix not in _FORMATS:
            raise
        raise _incomplete(path, name, error) from error
    if not head and path.suffix in _FORMATS:
        raise _incomplete(path, name, "no content")
    return head


def verify_gzip(path: Path, name: str) -> None:
    """Reads a gzip file to its end, so that its checksum and length are compared.

    A file that has not changed is read once by a process. Files of other formats are not read.

    Args:
        path: the file.
        name: its name in messages.

    Raises:
        SourceError: the file is damaged or not complete.
    """
    if path.suffix == ".gz":
        count_lines(path, name)


def count_lines(path: Path, name: str) -> LineCount:
    """Counts the lines of a file; one that has not changed is read once by a process.

    Args:
        path: the file, which may be compressed.
        name: its name in messages.

    Raises:
        SourceError: the compressed file is damaged or not complete.
    """
    stat = path.stat()
    counted = _count_lines(path, stat.st_size, stat.st_mtime_ns)
    if isinstance(counted, str):
        raise _incomplete(path, name, counted)
    return counted


def find_long_line(path: Path, size: int) -> int | None:
    """The number of the first line of a file that has more bytes than `size`; None: there is none.

    Args:
        path: the file, which may be compressed.
        size: bytes of the longest line that may be.
    """
    line, length = 1, 0
    with _open(path) as file:
        # Pieces of bounded size: a line may not fit into memory.
        while piece := file.readline(_BYTES_PER_READ):
            length += len(piece)
            if length > size:
                return line
            if piece.endswith(b"\n"):
                line, length = line + 1, 0
    return None


def find_lines(path: Path, first: str, second: str) -> int | None:
    """The number of a line that ends with a text and is followed by a line; None: there is none.

    Args:
        path: the file, which may be compressed.
        first: the end of the line, in which quotes do not count.
        second: the line after it, in which quotes do not count.
    """
    end, following = (text.replace('"', "").rstrip("\r").encode() for text in (first, second))
    before = b""
    with _open(path) as file:
        for number, line in enumerate(file):
            plain = line.replace(b'"', b"").rstrip(b"\r\n")
            if number and plain == following and before.endswith(end):
                return number
            before = plain
    return None


@functools.lru_cache(maxsize=4096)
def _count_lines(path: Path, size: int, changed: int) -> LineCount | str:
    """The lines of a file of this size and time, or why it cannot be decompressed."""
    import numpy as np

    breaks = empty = 0
    before_last, last = 0, _LF  # As if a line ended where the file begins.
    unended = b""
    try:
        with _open(path) as file:
            while block := file.read(_BYTES_PER_READ):
                # After the last two bytes of the block before, for \r\n may be split.
                data = np.frombuffer(bytes((before_last, last)) + block, np.uint8)
                ends = np.flatnonzero(data[2:] == _LF) + 2
                breaks += len(ends)
                after_lf = data[ends - 1] == _LF
                after_crlf = (data[ends - 1] == _CR) & (data[ends - 2] == _LF)
                empty += int(np.count_nonzero(after_lf | after_crlf))
                before_last, last = int(data[-2]), int(data[-1])
                unended = (unended + block)[-_BYTES_PER_READ:].rpartition(b"\n")[2]
    except _DAMAGE as error:
        if path.suffix not in _FORMATS:
            raise
        return str(error)
    return LineCount(breaks + (last != _LF), empty, unended)


def _open(path: Path) -> BinaryIO | io.BufferedIOBase:
    """Opens a file for reading its content, decompressed."""
    if path.suffix == ".gz":
        return gzip.GzipFile(path)
    if path.suffix == ".zst":
        import pyarrow as pa

        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return path.open("rb")


def _incomplete(path: Path, name: str, reason: object) -> SourceError:
    format_ = _FORMATS[path.suffix]
    return SourceError(f"{name} is not a complete {format_} file ({reason}): write it again")
