"""Configuration of a two-stage recommender, and side information on users and items.

A label window is a past hold-out from which a ranker learns: candidates of its users come from
generators fitted on the days before it, and the items that they took in it are the labels. Where
few users return, more windows are added, until there are enough users or history ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.splits import (
    Holdout,
    Split,
    leave_last_out,
    leave_out,
    split_by_time,
)
from batch_predictions.models.recommender.generators.candidate_generation import GeneratorParams

LABELLED_USERS, LABELLED_USERS_LEAVE_OUT = 2_500, 10_000
USERS_FOR_ONE_SEED = 6_000


class SideInformation(Protocol):
    """Protocol of what is known of users and items besides the interactions, as of a day."""

    def users(self, as_of: date) -> pa.Table | None:
        """Returns user_id, age_bracket, gender, location; None where nothing is known."""
        ...

    def items(self) -> pa.Table | None:
        """Returns item_id and a column per attribute: see `ItemMetadata.from_table`."""
        ...

    def promotions(self, as_of: date) -> pa.Table | None:
        """Returns promotions of the weeks after the day: see `ItemPromotions.from_table`."""
        ...


class NoSideInformation:
    """Side information where nothing is known besides the interactions."""

    def users(self, as_of: date) -> pa.Table | None:
        """Returns None: no demographics are known."""
        return None

    def items(self) -> pa.Table | None:
        """Returns None: no metadata is known."""
        return None

    def promotions(self, as_of: date) -> pa.Table | None:
        """Returns None: no promotions are known."""
        return None


@dataclass(frozen=True)
class TwoStageConfig:
    """Configuration of the training of a two-stage recommender.

    Attributes:
        exclude_seen: whether lists hold only items that are new to the user.
        window_days: days of a label window, as long as the hold-out.
        history_days: how far back histories and generators look; None: to the first row.
        seed: of samples and trees.
        generators: names of the generators to use; None: all that apply.
        must_gain: those of them that a search of parameters leaves out unless lists gain by them.
        candidates_per_generator: items that each candidate source proposes.
        max_items: the most frequent items that the generators know.
        max_labelled_users: labelled users after which no older window is added; None: by the split
            (`labelled_users`).
        max_windows: label windows of full length at most.
        ranker_seeds: LightGBM models of each objective, each with its own seed; None: by the number
            of labelled users (`seeds_for`).
        objectives: LightGBM objectives of the ranker's trees; None: all.
        generator_params: overrides of the generators' declared parameters, by generator.
        ranker_params: overrides of `LIGHTGBM_PARAMS`.
        linear_weight: spread of the linear model's margins against the trees'; None: by the number
            of users; 0: no linear model.
        threads: of LightGBM.
    """

    exclude_seen: bool
    window_days: int = 7
    history_days: int | None = None
    seed: int = 0
    generators: tuple[str, ...] | None = None
    must_gain: tuple[str, ...] = ()
    candidates_per_generator: int = 60
    max_items: int = 12_000
    max_labelled_users: int | None = None
    max_windows: int = 18
    ranker_seeds: int | None = 1
    objectives: tuple[str, ...] | None = None
    generator_params: GeneratorParams = field(default_factory=dict)
    ranker_params: Mapping[str, Any] = field(default_factory=dict)
    linear_weight: float | None = None
    threads: int = 2

    def labelled_users(self, split: Split) -> int:
        """Users that the ranker learns from, by how their items are hidden.

        Where a share of each user's items is hidden, few of them are among the candidates, and more
        users take no more windows.
        """
        if self.max_labelled_users is not None:
            return self.max_labelled_users
        return LABELLED_USERS_LEAVE_OUT if split == "leave_out" else LABELLED_USERS

    def seeds_for(self, users: int) -> int:
        """Seeds of the ranker's trees: single ones vary where lists hold only new items.

        Of many users they vary little.
        """
        if self.ranker_seeds is not None:
            return self.ranker_seeds
        return 3 if self.exclude_seen and users < USERS_FOR_ONE_SEED else 1

    @property
    def window_stride(self) -> int:
        """Days between label windows, about a week; a whole number of them makes up a window."""
        return -(-self.window_days // -(-self.window_days // 7))

    @property
    def reach_days(self) -> int:
        """Days before the training's last day that the oldest label window may begin.

        Training rows reach `history_days` further back, so that the histories of the oldest window
        are as long as those that are served.
        """
        strides = -(-self.window_days // self.window_stride)
        return self.window_days + self.window_stride * (strides + self.max_windows - 1)


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
