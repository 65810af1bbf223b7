"""Configuration of a two-stage recommender, and side information on users and items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Protocol

import pyarrow as pa

from batch_predictions.models.recommender.data.splits import Split
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
        candidates_per_generator: items that each candidate source proposes when scoring.
        candidates_in_training: the same in training data.
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
    candidates_per_generator: int = 60
    candidates_in_training: int = 60
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
        users take no more windows (docs/quality.md).
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
