"""What is known of items besides who took them: their metadata, and their coming promotions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
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


PLACEMENTS = ("display", "mailer")
"""How an item is promoted."""


@dataclass(frozen=True)
class ItemPromotions:
    """Promoted items by placement and week.

    A placement of the coming week is `display` or `mailer`, of the second week `display_2` or
    `mailer_2`, and so on.

    Attributes:
        shares: by placement, the share of shops that promote each item, 0 to 1, (m,).
        is_promoted_tomorrow: whether any shop promotes the item on the next day, (m,).
        shops: locations that have promotions, (s,).
        by_shop: by placement, shops x items with ones where the shop promotes the item.
    """

    shares: Mapping[str, Doubles]
    is_promoted_tomorrow: npt.NDArray[np.bool_]
    shops: pa.StringArray
    by_shop: Mapping[str, csr_matrix]

    @classmethod
    def from_table(cls, table: pa.Table, items: pa.StringArray) -> ItemPromotions | None:
        """Reads the rows of `features/sql/promoted_items.sql`; None where there are none.

        Args:
            table: weeks_ahead (1 is the coming week), item_id, location, and booleans display,
                mailer and tomorrow. A week without a row is unknown and has no placements, except
                the coming one.
            items: ids of the items, (m,).
        """
        from scipy.sparse import csr_matrix

        if not table.num_rows:
            return None
        columns = positions_in(table["item_id"].combine_chunks(), items)
        shops, rows = encode_ids(table["location"])
        weeks_ahead = table["weeks_ahead"].to_numpy()
        shares, by_shop = {}, {}
        for week in np.union1d(weeks_ahead, [1]).tolist():
            for placement in PLACEMENTS:
                name = placement if week == 1 else f"{placement}_{week}"
                mask = table[placement].to_numpy() & (columns >= 0) & (weeks_ahead == week)
                ones = np.ones(int(mask.sum()), dtype=np.float32)
                shape = (len(shops), len(items))
                matrix = csr_matrix((ones, (rows[mask], columns[mask])), shape=shape)
                by_shop[name] = matrix
                sums = np.asarray(matrix.sum(axis=0), dtype=np.float64).ravel()
                shares[name] = sums / len(shops)
        is_promoted_tomorrow = np.zeros(len(items), dtype=bool)
        is_promoted_tomorrow[columns[table["tomorrow"].to_numpy() & (columns >= 0)]] = True
        return cls(shares, is_promoted_tomorrow, shops, by_shop)

    def take(self, columns: npt.NDArray[np.int64]) -> ItemPromotions:
        """Selects the promotions of the items at some positions."""
        return ItemPromotions(
            {name: values[columns] for name, values in self.shares.items()},
            self.is_promoted_tomorrow[columns],
            self.shops,
            {name: matrix[:, columns] for name, matrix in self.by_shop.items()},
        )

    @property
    def weeks(self) -> list[tuple[str, ...]]:
        """The placements of each known week, the coming one first, as `shares` has them."""
        names = list(self.shares)
        step = len(PLACEMENTS)
        return [tuple(names[start : start + step]) for start in range(0, len(names), step)]

    @cached_property
    def strength(self) -> Doubles:
        """The larger share of each week's placements, summed over weeks, (m,)."""
        larger = [np.maximum.reduce([self.shares[name] for name in week]) for week in self.weeks]
        return np.asarray(np.sum(larger, axis=0), dtype=np.float64)

    @cached_property
    def weeks_by_shop(self) -> csr_matrix:
        """Number of weeks in which each shop promotes each item, shops x items."""
        return sum(sum(self.by_shop[name] for name in week).sign() for week in self.weeks)
