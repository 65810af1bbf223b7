"""Equal values have equal hashes, however they are laid out; others differ."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix

from batch_predictions.models.common.training_cache import content_hash


@dataclass(frozen=True)
class Part:
    name: str
    values: np.ndarray


IDS = pa.array(["a", "b", "c"])

EQUAL: dict[str, tuple[Any, Any]] = {
    "a copy": (np.arange(6.0), np.arange(6.0)),
    "a slice with a stride": (np.arange(12)[::2], np.arange(0, 12, 2)),
    "nan": (np.array([np.nan, 1]), np.array([np.nan, 1])),
    "days": (np.array(["2024-01-01"], "datetime64[D]"), np.array(["2024-01-01"], "datetime64[D]")),
    "an array that was sliced": (pa.array(["x", "a", "b", "c"]).slice(1), IDS),
    "an array that was filtered": (pa.array(["a", None, "b", "c"]).drop_null(), IDS),
    "chunks": (pa.chunked_array([["a"], ["b", "c"]]), pa.chunked_array([["a", "b", "c"]])),
    "a matrix": (csr_matrix(np.eye(3)), csr_matrix(np.eye(3))),
    "the order of a mapping": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "a dataclass": (Part("a", np.arange(3)), Part("a", np.arange(3))),
}
DIFFERENT: dict[str, tuple[Any, Any]] = {
    "types": (np.arange(3, dtype=np.int32), np.arange(3, dtype=np.int64)),
    "shapes": (np.zeros((2, 3)), np.zeros((3, 2))),
    "one bit": (np.array([1.0]), np.array([np.nextafter(1.0, 2)])),
    "places of ends": (["ab"], ["a", "b"]),
    "a null": (pa.array(["a", None]), pa.array(["a", ""])),
    "names of columns": (pa.table({"a": [1]}), pa.table({"b": [1]})),
    "columns of a matrix": (csr_matrix(np.eye(3)), csr_matrix(np.eye(3)[::-1])),
    "a day": (date(2024, 1, 1), date(2024, 1, 2)),
    "a number and its text": (1, "1"),
    "none": (None, ""),
    "a field": (Part("a", np.arange(3)), Part("b", np.arange(3))),
    "a value of a mapping": ({"a": {"b": 1}}, {"a": {"b": 2}}),
}


@pytest.mark.parametrize("case", EQUAL)
def test_equal_values_have_equal_hashes(case: str) -> None:
    one, other = EQUAL[case]
    assert content_hash([one]) == content_hash([other])


@pytest.mark.parametrize("case", DIFFERENT)
def test_other_values_have_other_hashes(case: str) -> None:
    one, other = DIFFERENT[case]
    assert content_hash([one]) != content_hash([other])


def test_arrays_of_objects_are_refused() -> None:
    with pytest.raises(TypeError, match="objects"):
        content_hash([np.array(["a", None], dtype=object)])
