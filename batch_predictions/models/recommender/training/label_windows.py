"""Label windows: past hold-outs from which a ranker learns.

A label window is a hold-out: candidates of its users come from generators fitted on the days
before it, and the items that they took in it are the labels. Where few users return, more
windows are added, until there are enough users or history ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np

from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.splits import (
    Holdout,
    Split,
    leave_last_out,
    leave_out,
    split_by_time,
)
from batch_predictions.models.recommender.training.config import TwoStageConfig

MIN_USERS_FOR_FULL_WINDOWS = 500
"""With fewer users in windows of full length, shorter ones are added."""


def label_windows(
    interactions: Interactions, as_of: date, config: TwoStageConfig, split: Split | None = None
) -> Iterator[Holdout]:
    """Hold-outs that end by `as_of`, the newest first.

    Args:
        interactions: rows; those after `as_of` are not read.
        as_of: the last day that is known.
        config: length and number of the windows.
        split: how the hold-out of the evaluation was split; None: by time.
    """
    rows = interactions.up_to(as_of)
    if split == "leave_out" or rows.has_single_date:
        # The evaluation hides items of each user: hide others here.
        # The dataset draws users until enough of them have a hidden item among their candidates.
        holdout = leave_out(rows, as_of=as_of, seed=config.seed + 1)
        if len(holdout.users):
            yield holdout
    elif split == "leave_newest":
        yield from _repeated_leave_last_out(rows, as_of, config)
    else:
        yield from _windows_by_time(rows, as_of, config)


def _repeated_leave_last_out(
    rows: Interactions, as_of: date, config: TwoStageConfig
) -> Iterator[Holdout]:
    """Each user's newest items, then the newest of what is left, and so on."""
    users = 0
    while users < config.labelled_users("leave_newest"):
        holdout = leave_last_out(rows, as_of)
        if not len(holdout.users):
            return
        yield holdout
        users += len(holdout.users)
        rows = holdout.train


def _windows_by_time(rows: Interactions, as_of: date, config: TwoStageConfig) -> Iterator[Holdout]:
    """Windows of full length a stride apart, and shorter ones where these have too few users.

    Shorter windows have fewer labels, of the users who return soonest.
    """
    users, enough = 0, config.labelled_users("time")
    first = rows.dates.min() if len(rows) else np.datetime64(as_of, "D")
    stride = config.window_stride
    strides = -(-config.window_days // stride)
    full = range(strides, strides + config.max_windows)
    shorter = range(1, strides)
    for lengths in (full, shorter):
        if lengths is shorter and users >= MIN_USERS_FOR_FULL_WINDOWS:
            return
        for age in (stride * length for length in lengths):
            cut = as_of - timedelta(days=age)
            if users >= enough or np.datetime64(cut, "D") < first:
                break
            end = cut + timedelta(days=min(age, config.window_days))
            holdout = split_by_time(
                rows.up_to(end),
                cut=cut,
                exclude_seen=config.exclude_seen,
                seed=config.seed,
                history_days=config.history_days,
                max_users=enough,
            )
            if not len(holdout.users):
                break
            yield holdout
            users += len(holdout.users)
