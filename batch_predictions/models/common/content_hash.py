"""A hash of arrays, tables and plain values, by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pyarrow as pa


def content_hash(values: Iterable[Any]) -> str:
    """Hash of values, 24 hexadecimal digits; equal values have equal hashes in every process.

    Args:
        values: NumPy arrays, SciPy's CSR matrices, Arrow arrays and tables, dataclasses, mappings
            and sequences of these, and values with a repr that says all, such as numbers, texts
            and dates.

    Raises:
        TypeError: an array is one of Python's objects.
    """
    digest = hashlib.sha256()
    for value in values:
        _update(digest, value)
    return digest.hexdigest()[:24]


def _update(digest: Any, value: Any) -> None:
    # The type and the length come first, so that ["ab"] differs from ["a", "b"].
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError("an array of Python's objects has no bytes to hash")
        is_fortran = value.flags.f_contiguous and not value.flags.c_contiguous
        digest.update(f"array {value.dtype.str} {value.shape} {is_fortran} ".encode())
        digest.update(np.ascontiguousarray(value.T if is_fortran else value).view(np.uint8).data)
    elif isinstance(value, pa.Array | pa.ChunkedArray):
        _update(digest, pa.table({"values": value}))
    elif isinstance(value, pa.Table):
        _update_table(digest, value)
    elif hasattr(value, "indptr"):
        _update(digest, ["csr", value.shape, value.data, value.indices, value.indptr])
    elif is_dataclass(value):
        names = [field.name for field in fields(value)]
        _update(digest, [type(value).__name__, *(getattr(value, name) for name in names)])
    elif isinstance(value, Mapping):
        _update(digest, ["mapping", *sorted(value.items(), key=repr)])
    elif isinstance(value, list | tuple):
        digest.update(f"sequence {len(value)} ".encode())
        for entry in value:
            _update(digest, entry)
    else:
        text = repr(value)
        digest.update(f"{type(value).__name__} {len(text)} {text} ".encode())


def _update_table(digest: Any, table: pa.Table) -> None:
    """Hashes a table as one stream of Arrow.

    The stream has neither offsets of slices nor masks of columns without nulls.
    """
    sink = pa.BufferOutputStream()
    table = table.combine_chunks().replace_schema_metadata(None)
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    buffer = sink.getvalue()
    digest.update(f"table {buffer.size} ".encode())
    digest.update(buffer)
