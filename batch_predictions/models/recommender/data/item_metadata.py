"""Item metadata that does not change by day: tags (category, brand, genres) and numbers (price)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.recommender.data.interactions import encode_ids, positions_in

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

TAG_SEPARATOR = "|"


@dataclass(frozen=True)
class ItemMetadata:
    """Tags by kind and numbers by name.

    Attributes:
        items: the items' ids, (m,).
        tags: by kind, items x tags as float32 CSR; rows sum to 1 or are empty.
        numbers: by name, (m,), nan where unknown.
    """

    items: pa.StringArray
    tags: Mapping[str, csr_matrix]
    numbers: Mapping[str, Doubles]

    @classmethod
    def empty(cls, items: pa.StringArray) -> ItemMetadata:
        """Items of which only the ids are known."""
        return cls(items, {}, {})

    @classmethod
    def from_table(cls, table: pa.Table, items: pa.StringArray) -> ItemMetadata:
        """Reads item metadata from a table of item_id and one column per attribute.

        Numbers stay numbers. Texts are tags, several in one text separated by `|`; a text column
        whose values all are numbers is read as numbers.
        """
        rows = pc.index_in(items, value_set=table["item_id"].combine_chunks())
        tags: dict[str, csr_matrix] = {}
        numbers: dict[str, Doubles] = {}
        for name in table.column_names:
            if name == "item_id":
                continue
            column = table[name].take(rows).combine_chunks()
            parsed = _parse_numbers(column)
            if parsed is not None:
                numbers[name] = parsed
            elif column.null_count < len(column):
                tags[name] = _parse_tags(column)
        return cls(items, tags, numbers)

    def reindex(self, items: pa.StringArray) -> ItemMetadata:
        """Returns the metadata of other items; unknown ones have no tags and nan as numbers."""
        rows = positions_in(items, self.items)
        is_known = rows >= 0
        unknown = np.full(len(items), np.nan)
        return ItemMetadata(
            items,
            {kind: _take_rows(matrix, rows) for kind, matrix in self.tags.items()},
            {
                name: np.where(is_known, values[rows], np.nan) if len(values) else unknown
                for name, values in self.numbers.items()
            },
        )


def _parse_numbers(column: pa.Array) -> Doubles | None:
    """The column as doubles with nan, or None where it is text."""
    if column.null_count == len(column):
        return None
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        try:
            column = pc.cast(column, pa.float64())
        except pa.ArrowInvalid:
            return None
    values = pc.fill_null(pc.cast(column, pa.float64()), float("nan"))
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)


def _parse_tags(column: pa.Array) -> csr_matrix:
    """Items x tags, each row's tags of equal weight."""
    from scipy.sparse import csr_matrix

    parts = pc.split_pattern(pc.fill_null(pc.cast(column, pa.string()), ""), TAG_SEPARATOR)
    lengths = pc.list_value_length(parts).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(column)), lengths)
    words = parts.flatten()
    is_tag = pc.not_equal(words, "").to_numpy(zero_copy_only=False)
    tags, codes = encode_ids(pa.chunked_array([words.filter(pa.array(is_tag))]))
    rows = rows[is_tag]
    counts = np.bincount(rows, minlength=len(column))
    weights = 1.0 / counts[rows]
    shape = (len(column), len(tags))
    return csr_matrix((weights.astype(np.float32), (rows, codes)), shape=shape)


def _take_rows(matrix: csr_matrix, rows: npt.NDArray[np.int64]) -> csr_matrix:
    """Selects the rows of a matrix at some positions; -1 gives an empty row."""
    from scipy.sparse import csr_matrix

    present = np.flatnonzero(rows >= 0)
    entries = matrix[rows[present]].tocoo()
    return csr_matrix(
        (entries.data, (present[entries.row], entries.col)), shape=(len(rows), matrix.shape[1])
    )
