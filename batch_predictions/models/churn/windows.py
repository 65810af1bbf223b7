"""Past days that a training takes as if each were today, in the order of time."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from batch_predictions.models.churn.features import Doubles


@dataclass(frozen=True)
class Examples:
    """Customers as they were at the end of a past day (features), and whether they churned."""

    rows: pa.Table
    churned: Doubles

    @classmethod
    def joined(cls, parts: list[Examples]) -> Examples:
        """Several days' examples as one."""
        rows = pa.concat_tables([part.rows for part in parts])
        return cls(rows, np.concatenate([part.churned for part in parts]))

    def has_both(self, least: int) -> bool:
        """Whether there are enough customers who churned, and who did not."""
        gone = int(self.churned.sum())
        return min(gone, len(self.churned) - gone) >= least


@dataclass(frozen=True)
class Windows:
    """Cut-offs: learned from, calibrated on, judged on (none for the model that serves).

    The outcomes of a window are over before the next window's cut-off: nothing that is judged, nor
    what is calibrated on, has been seen before.
    """

    fit: tuple[dt.date, ...]
    calibrate: dt.date
    judge: tuple[dt.date, ...] = ()

    @property
    def days(self) -> list[dt.date]:
        """All cut-offs, oldest first."""
        return sorted({*self.fit, self.calibrate, *self.judge})


def windows(
    through: dt.date,
    first: dt.date,
    horizon: int,
    *,
    judged: bool,
    step: int,
    most: int,
) -> Windows | None:
    """The windows of a training through a day; None where the history is too short.

    Args:
        through: last day whose purchases are known.
        first: first day of the history; a cut-off has `horizon` days before it at least.
        horizon: days after a cut-off in which a customer who stays buys.
        judged: whether the newest window is kept for judging.
        step: days between the cut-offs that are learned from.
        most: how many of them at most.
    """
    after = dt.timedelta(days=horizon)
    newest = through - after
    calibrate = newest - after if judged else newest
    begin, oldest = calibrate - after, first + dt.timedelta(days=horizon - 1)
    fit = [begin - dt.timedelta(days=step * n) for n in range(most)]
    fit = [day for day in fit if day >= oldest]
    if not fit:
        return None
    return Windows(tuple(sorted(fit)), calibrate, (newest,) if judged else ())
