"""Business rules that a shop applies to ranked lists, whatever the model.

Rules never shorten a list: what they hold back fills it up again, in rank order, where too little
else is left. Only blocked and unavailable items, and seen ones where these are excluded, stay out;
they are masked before the ranking.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.core.arrays import Int64s, Positions
from batch_predictions.models.recommender.data.interactions import encode_ids, positions_in

MIN_DEPTH_WITH_LIMITS = 500
"""Ranked items under limits: what is new, or of a rare group, may rank far down."""


@dataclass(frozen=True)
class Rules:
    """Business rules that ranked lists of items follow.

    Attributes:
        boost: places by which each item moves up, down if negative, (items,).
        groups: number of each item's group under each limit, -1 where it has none,
            (items, limits).
        limits: items of one group in a list at most, each >= 1.
        new_share: share of the list that is new to the user, at least, as far as there is any.
        table: the rows that the rules were read from.
    """

    boost: Int64s
    groups: Int64s
    limits: tuple[int, ...] = ()
    new_share: float = 0.0
    table: pa.Table | None = field(default=None, repr=False)

    @classmethod
    def from_table(
        cls, table: pa.Table, items: pa.StringArray, limits: Sequence[int], new_share: float = 0.0
    ) -> Self:
        """Reads the rules of items from rows of features.item_rules.

        Args:
            table: item_id, boost, and groups, a list with a text or null for each limit.
            items: ids of the items that are ranked, (m,).
            limits: items of one group in a list at most.
            new_share: smallest share of a list that is new to the user.

        Raises:
            ValueError: the rows have groups of other limits.
        """
        lengths = pc.list_value_length(table["groups"])
        if table.num_rows and pc.min_max(lengths).as_py() != dict.fromkeys(
            ("min", "max"), len(limits)
        ):
            raise ValueError(
                "features.item_rules was made by other recommendations.rules: materialize it again"
            )
        rows = positions_in(items, pc.cast(table["item_id"].combine_chunks(), pa.string()))
        boost = pc.cast(table["boost"], pa.int64()).to_numpy()
        groups = np.full((table.num_rows + 1, len(limits)), -1, dtype=np.int64)
        for rule in range(len(limits) if table.num_rows else 0):
            texts = pc.list_element(table["groups"], rule)
            _, codes = encode_ids(pc.fill_null(texts, ""))
            groups[:-1, rule] = np.where(texts.is_null().to_numpy(), -1, codes)
        # The row -1, of items without a rule, is the last.
        return cls(np.append(boost, 0)[rows], groups[rows], tuple(limits), new_share, table)

    @property
    def have_effect(self) -> bool:
        """True if the rules can change a ranked list: else compiled code need not be loaded."""
        return bool(self.limits or self.new_share or self.boost.any())

    def depth(self, k: int) -> int:
        """Returns how many items must be ranked for lists of k."""
        moved = k + max(int(self.boost.max(initial=0)), 0)
        if self.limits or self.new_share:
            return max(moved, 20 * k, MIN_DEPTH_WITH_LIMITS)
        return moved

    def apply(
        self, ranked: Positions, k: int, in_history: npt.NDArray[np.bool_] | None = None
    ) -> Positions:
        """Builds lists of k items under the rules.

        Args:
            ranked: item positions, best first, -1 at the end of short lists, (n, m).
            k: length of the lists.
            in_history: whether the user has interacted with the item, (n, m); None: with none.

        Returns:
            Columns of `ranked` in the order of the list, -1 where too few are ranked, (n, k).
        """
        from batch_predictions.models.recommender.kernels.candidate_kernels import apply_rules

        if in_history is None:
            in_history = np.zeros(ranked.shape, dtype=np.bool_)
        columns = np.empty((len(ranked), k), dtype=np.int64)
        apply_rules(
            np.ascontiguousarray(ranked),
            np.ascontiguousarray(in_history),
            self.boost,
            np.ascontiguousarray(self.groups),
            np.array(self.limits, dtype=np.int64),
            math.ceil(self.new_share * k - 1e-9),
            k,
            columns,
        )
        return columns

    def fill_up(self, listed: Sequence[str], candidates: Iterable[str], missing: int) -> list[str]:
        """Selects candidates that complete a list: first those that all limits allow.

        Args:
            listed: ids of the list so far.
            candidates: other ids, best first.
            missing: how many are missing.
        """
        counts: dict[tuple[int, str], int] = {}

        def take(item: str) -> None:
            for rule, group in enumerate(self._group_names.get(item, ())):
                if group is not None:
                    counts[rule, group] = counts.get((rule, group), 0) + 1

        def is_allowed(item: str) -> bool:
            return all(
                group is None or counts.get((rule, group), 0) < self.limits[rule]
                for rule, group in enumerate(self._group_names.get(item, ()))
            )

        for item in listed:
            take(item)
        allowed: list[str] = []
        held_back: list[str] = []
        for item in candidates:
            if len(allowed) >= missing:
                break
            if is_allowed(item):
                allowed.append(item)
                take(item)
            else:
                held_back.append(item)
        return (allowed + held_back)[:missing]

    @cached_property
    def _group_names(self) -> Mapping[str, Sequence[str | None]]:
        """The groups of every item that has any, by its id."""
        if self.table is None or not self.limits:
            return {}
        items = self.table["item_id"].to_pylist()
        return dict(zip(items, self.table["groups"].to_pylist(), strict=True))
