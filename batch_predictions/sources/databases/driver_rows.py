"""Rows of a DB-API driver as Arrow batches."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa

_TYPES: tuple[tuple[type, pa.DataType], ...] = (
    (bool, pa.bool_()),
    (int, pa.int64()),
    (float, pa.float64()),
    (dt.date, pa.date32()),
    (str, pa.string()),
)


def to_record_batch(names: Sequence[str], rows: Sequence[Sequence[object]]) -> pa.RecordBatch:
    """Rows as a batch; columns without a value are left out.

    Decimal numbers, and values of types without an equivalent, become text. So do the values of a
    column with several types.
    """
    arrays: dict[str, pa.Array] = {}
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        array = _to_array(values)
        if array is not None:
            arrays[name] = array
    return pa.RecordBatch.from_pydict(arrays)


def _to_array(values: Iterable[Any]) -> pa.Array | None:
    values = list(values)
    types = {type(value) for value in values} - {type(None)}
    if not types:
        return None
    if all(issubclass(type_, dt.datetime) for type_ in types):
        are_aware = {value.tzinfo is not None for value in values if value is not None}
        if len(are_aware) == 1:
            return pa.array(values, pa.timestamp("us", tz="UTC" if are_aware == {True} else None))
    elif types == {int, float}:
        return pa.array([None if value is None else float(value) for value in values])
    elif len(types) == 1:
        type_ = types.pop()
        for python_type, arrow_type in _TYPES:
            if type_ is python_type:
                try:
                    return pa.array(values, arrow_type)
                except (pa.ArrowInvalid, OverflowError):
                    break  # an integer of more than 64 bits
    return pa.array([None if value is None else _to_text(value) for value in values], pa.string())


def _to_text(value: object) -> str:
    converters: dict[type, Callable[[Any], str]] = {
        memoryview: lambda data: bytes(data).decode("utf-8", "replace"),
        bytes: lambda data: data.decode("utf-8", "replace"),
        dict: json.dumps,
        list: json.dumps,
    }
    try:
        return converters.get(type(value), str)(value)
    except TypeError:
        return str(value)
