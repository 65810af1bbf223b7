"""Customers as of past days with their outcomes: what churn models are fitted and tested on.

A cut-off is a past day on which customers are described by what was known then; their outcome is
what they bought in the horizon after it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.core.arrays import Doubles
from batch_predictions.features.sql.queries import interactions_of_some, is_purchase, sql
from batch_predictions.features.sql.queries import parameters as feature_parameters
from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse


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


@dataclass(frozen=True)
class TrainingWindows:
    """The cut-offs of a churn training, by what they are used for.

    The horizon of a fitting cut-off ends before the calibration cut-off, and that of the
    calibration cut-off before the test cut-off, so that calibration and test use outcomes that
    nothing before them has seen.

    Attributes:
        fit_days: cut-offs that estimators are fitted on, oldest first.
        calibration_day: cut-off that probabilities are calibrated on.
        test_day: cut-off that candidates are compared on; None for the model that serves.
    """

    fit_days: tuple[dt.date, ...]
    calibration_day: dt.date
    test_day: dt.date | None = None

    @property
    def days(self) -> list[dt.date]:
        """All cut-offs, oldest first."""
        test_days = () if self.test_day is None else (self.test_day,)
        return sorted({*self.fit_days, self.calibration_day, *test_days})


PURCHASES = f"raw.interactions where {is_purchase('churn_event_types')}"
"""SQL after `from`: interactions that are purchases. `and …` may follow."""
_SAMPLE = interactions_of_some(
    f"""
        select user_id from {PURCHASES}
        and date <= $date::DATE
        and date > $date::DATE - least($churn_active_days, $churn_history_days)::INTEGER
    """,
    "max_customers",
)
"""Interactions of the customers that are described, so that no others are computed."""
_EXAMPLES = f"""
    select features.*, buyers.user_id is null as churned
    from ({{features}}) as features
    left join (
        select distinct user_id from {PURCHASES}
        and date > $date::DATE and date <= $date::DATE + $horizon_days::INTEGER
    ) as buyers on buyers.user_id = features.user_id
    order by features.user_id
"""
"""Customers as of a past day, by the query that also computes a day's features, with outcomes."""


def first_purchase_day(
    warehouse: Warehouse, settings: Settings, through: dt.date
) -> dt.date | None:
    """Reads the day of the oldest purchase up to a day; None without purchases."""
    day: dt.date | None = warehouse.value(
        f"select min(date) from {PURCHASES} and date <= $date",
        {**feature_parameters(settings), "date": through},
    )
    return day


def examples_as_of(warehouse: Warehouse, settings: Settings, day: dt.date) -> Examples:
    """Reads the customers as they were at the end of a past day, and whether they churned.

    Of more than `churn.max_customers` customers, a hash of their ids selects the same ones on every
    day.

    Args:
        warehouse: features and purchases.
        settings: of this home; those under `churn` say who has churned.
        day: the cut-off; purchases of `churn.horizon_days` days after it are the outcomes.
    """
    rows = warehouse.query(
        _EXAMPLES.format(features=sql("churn_features", interactions=_SAMPLE)),
        {
            **feature_parameters(settings),
            "date": day,
            "horizon_days": settings.churn.horizon_days,
            "max_customers": settings.churn.max_customers,
        },
    )
    churned = rows["churned"].to_numpy().astype(np.float64)
    return Examples(rows.drop_columns("churned").combine_chunks(), churned)
