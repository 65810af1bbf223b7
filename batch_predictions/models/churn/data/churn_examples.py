"""Customers as of past days with their outcomes: what churn models are fitted and tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.models.common.bootstrap import Doubles


@dataclass(frozen=True)
class Examples:
    """Customers as they were at the end of one or several past days.

    Attributes:
        rows: the columns of `features.churn_features`, a row per customer and day.
        churned: 1 for customers who bought nothing in the horizon after their day, else 0, (rows,).
    """

    rows: pa.Table
    churned: Doubles

    @classmethod
    def concat(cls, days: Sequence[Examples]) -> Examples:
        """The examples of several days as one."""
        rows = pa.concat_tables([examples.rows for examples in days])
        return cls(rows, np.concatenate([examples.churned for examples in days]))

    def __len__(self) -> int:
        return len(self.churned)

    @property
    def n_churned(self) -> int:
        """Number of customers who churned."""
        return int(self.churned.sum())

    def has_both_classes(self, min_count: int) -> bool:
        """Returns whether at least `min_count` customers churned, and as many did not."""
        return min(self.n_churned, len(self) - self.n_churned) >= min_count

    def customer_codes(self) -> npt.NDArray[np.int64]:
        """A number for each customer, 0 to customers - 1, the same on all days, (rows,)."""
        encoded = self.rows["user_id"].combine_chunks().dictionary_encode()
        return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int64)
