"""Trains recommenders of several generators: ranking datasets of past windows, ranker or blend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa

from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.data.item_metadata import ItemMetadata
from batch_predictions.models.recommender.data.splits import Holdout, Split
from batch_predictions.models.recommender.generators.base import generators
from batch_predictions.models.recommender.generators.candidate_generation import (
    GeneratorEnsemble,
    Progress,
)
from batch_predictions.models.recommender.ranker.conditional_logit import (
    ConditionalLogit,
    linear_weight,
)
from batch_predictions.models.recommender.ranker.gbdt_ranker import LIGHTGBM_PARAMS, OBJECTIVES
from batch_predictions.models.recommender.ranker.ranker_ensemble import RankerEnsemble
from batch_predictions.models.recommender.ranker.two_stage import (
    TwoStageParams,
    TwoStageRecommender,
)
from batch_predictions.models.recommender.training.config import (
    NoSideInformation,
    SideInformation,
    TwoStageConfig,
    label_windows,
)
from batch_predictions.models.recommender.training.dataset import RankingDataset, build_dataset

SEED_STRIDE = 10
"""Between the seeds of one set of trees and the next."""
BLEND_RIDGE_USERS = 500
"""Users from which the ridge of a blend grows no more: its few weights need less of it."""


@dataclass(frozen=True)
class TrainedRanker:
    """A trained ranker, and the parameters of the recommender that it ranks for."""

    ranker: RankerEnsemble
    params: TwoStageParams


@dataclass(frozen=True)
class RankerTrainer:
    """Trains two-stage recommenders of one configuration.

    Attributes:
        config: how.
        side_information: what is known besides the interactions.
        progress: called with a line about what is being done; None: silent.
        user_share: share of the users whose interactions are given, (0, 1].
    """

    config: TwoStageConfig
    side_information: SideInformation = field(default_factory=NoSideInformation)
    progress: Progress | None = None
    user_share: float = 1.0

    def fit(self, interactions: Interactions, as_of: date) -> TwoStageRecommender:
        """Trains a recommender on the rows up to a day.

        Raises:
            ValueError: no past window has a candidate that was taken.
        """
        trained = self.fit_ranker(self.build_datasets(interactions, as_of))
        return self.build_recommender(interactions, as_of, trained)

    def build_recommender(
        self,
        interactions: Interactions,
        as_of: date,
        trained: TrainedRanker,
        name: str | None = None,
    ) -> TwoStageRecommender:
        """Builds the recommender of a trained ranker, with generators fitted up to a day.

        Args:
            interactions: rows, of which those after `as_of` are ignored.
            as_of: last day that is known.
            trained: the ranker and its parameters.
            name: in evaluation tables; None: the default name.
        """
        ensemble = self.fit_generators(interactions, as_of)
        metadata = self.side_information.items()
        return TwoStageRecommender(ensemble, trained.ranker, trained.params, metadata, name)

    def generator_names(self, as_of: date) -> list[str]:
        """The generators that apply as of a day, whatever the rows."""
        selected = self.config.generators
        promotions = self.side_information.promotions(as_of)
        holds = {
            "repeats": not self.config.exclude_seen,
            "new_items": self.config.exclude_seen,
            # These depend on the rows: see `fit_generators`.
            "history_items": True,
            "times": True,
            "ratings": True,
            "segments": self.side_information.users(as_of) is not None,
            "promotions": promotions is not None and promotions.num_rows > 0,
        }
        return [
            name
            for name, generator in generators().items()
            if (selected is None or name in selected)
            and all(holds[requirement] for requirement in generator.requires)
        ]

    def fit_generators(
        self, interactions: Interactions, as_of: date, names: Sequence[str] | None = None
    ) -> GeneratorEnsemble:
        """Fits the generators, or some by name, on the rows of `history_days` up to a day.

        Those that need times, ratings or items of the history are left out where the rows have
        none, unless no others are left.

        Args:
            interactions: rows, of which those after `as_of` are ignored.
            as_of: last day that is known.
            names: of the generators; None: all that apply.
        """
        rows = interactions.up_to(as_of, self.config.history_days)
        names = names or self.generator_names(as_of)
        declared = generators()
        for requirement, holds in (
            ("times", not rows.has_single_date),
            ("ratings", rows.has_ratings),
            ("history_items", not self.config.exclude_seen or rows.has_unseen),
        ):
            if not holds:
                usable = [name for name in names if requirement not in declared[name].requires]
                names = usable or names
        return GeneratorEnsemble.fit(
            rows,
            as_of,
            names,
            exclude_seen=self.config.exclude_seen,
            max_items=self.config.max_items,
            params=self.config.generator_params,
            users=self.side_information.users(as_of),
            items=self.side_information.items(),
            progress=self.progress,
        )

    def item_features(
        self, interactions: Interactions, as_of: date, items: pa.StringArray
    ) -> ItemFeatures:
        """Computes features of items as of a day, from the rows of `history_days`.

        Counts are those of all users, as when scoring: estimated, where some are given.

        Args:
            interactions: rows, of which those after `as_of` are ignored.
            as_of: last day that is known.
            items: ids of the items to describe, (m,).
        """
        table = self.side_information.items()
        metadata = ItemMetadata.from_table(table, items) if table is not None else None
        rows = interactions.up_to(as_of, self.config.history_days)
        promotions = self.side_information.promotions(as_of)
        features = ItemFeatures.from_interactions(rows, as_of, items, metadata, promotions)
        return features if self.user_share == 1 else features.scale_counts(1 / self.user_share)

    def build_dataset(
        self,
        holdout: Holdout,
        ensemble: GeneratorEnsemble | None = None,
        max_users: int | None = None,
    ) -> RankingDataset:
        """The labelled candidates of a hold-out's users.

        Args:
            holdout: a label window.
            ensemble: generators fitted on `holdout.train`; None: fitted here.
            max_users: labelled users after which no others are drawn; None: as configured.
        """
        if ensemble is None:
            ensemble = self.fit_generators(holdout.train, holdout.as_of)
        return build_dataset(
            holdout,
            ensemble,
            self.item_features(holdout.train, holdout.as_of, ensemble.items),
            self.side_information.users(holdout.as_of),
            self.config.candidates_per_generator,
            max_users or self.config.labelled_users(holdout.split),
            self.config.seed,
        )

    def build_datasets(
        self, interactions: Interactions, as_of: date, split: Split | None = None
    ) -> list[RankingDataset]:
        """Builds the datasets of all label windows up to a day; see `label_windows`.

        Args:
            interactions: rows, of which those after `as_of` are ignored.
            as_of: last day that is known.
            split: how the hold-out of the evaluation was split; None: by time.
        """
        windows = label_windows(interactions, as_of, self.config, split)
        return [self.label_window(holdout) for holdout in windows]

    def label_window(self, holdout: Holdout) -> RankingDataset:
        """The labelled candidates of one label window."""
        return self.build_dataset(holdout)

    def fit_ranker(
        self, datasets: Sequence[RankingDataset], origin: str | None = None
    ) -> TrainedRanker:
        """Trains the ranker on datasets of past windows.

        Args:
            datasets: one or more with a user.
            origin: where the datasets are from, for the progress; None: past windows.

        Raises:
            ValueError: no dataset has a candidate that was taken.
        """
        data, windows = _join(datasets)
        if self.progress:
            self.progress(
                f"training the ranker on {len(data.labels):,} candidates of {data.users:,} users "
                f"in {origin or f'{windows} past windows'}"
            )
        config = self.config
        weight = config.linear_weight
        ranker = RankerEnsemble.fit(
            self.model_params(len(data.labels), data.users),
            linear_weight(data.users, config.exclude_seen) if weight is None else weight,
            data.features,
            data.labels,
            data.sizes,
            data.columns,
        )
        return TrainedRanker(
            ranker,
            TwoStageParams(
                config.candidates_per_generator,
                tuple(data.columns),
                {"windows": windows, "ranker_params": dict(config.ranker_params)},
            ),
        )

    def fit_blend(self, datasets: Sequence[RankingDataset]) -> TrainedRanker:
        """Trains a blend: a conditional logit of the generators' scores alone.

        Raises:
            ValueError: no dataset has a candidate that was taken.
        """
        data, windows = _join(datasets)
        columns = [column for column in data.columns if column.name in generators()]
        ranker = RankerEnsemble(
            None,
            ConditionalLogit.fit(
                data.with_columns(columns),
                data.labels,
                data.sizes,
                columns,
                max_ridge_users=BLEND_RIDGE_USERS,
            ),
        )
        params = TwoStageParams(
            self.config.candidates_per_generator, tuple(columns), {"windows": windows}
        )
        return TrainedRanker(ranker, params)

    def model_params(self, rows: int, users: int) -> list[dict[str, object]]:
        """LightGBM's parameters of every model of the ranker: each objective with each seed.

        Args:
            rows: training candidates.
            users: labelled users.
        """
        config = self.config
        common = {**LIGHTGBM_PARAMS, "num_threads": config.threads}
        if LIGHTGBM_PARAMS["bagging_fraction"] * rows < 1:
            # LightGBM refuses a bag without rows.
            common["bagging_freq"] = 0
        return [
            {
                **common,
                "seed": config.seed + SEED_STRIDE * number + place,
                **objective,
                **config.ranker_params,
            }
            for number in range(config.seeds_for(users))
            for place, objective in enumerate(OBJECTIVES)
            if config.objectives is None or objective["objective"] in config.objectives
        ]


def _join(datasets: Sequence[RankingDataset]) -> tuple[RankingDataset, int]:
    """Datasets one after the other, those without a user left out, and how many these are.

    Raises:
        ValueError: none has a user.
    """
    datasets = [dataset for dataset in datasets if dataset.users]
    if not datasets:
        raise ValueError("two_stage: no past window has a candidate that was taken")
    joined = datasets[0] if len(datasets) == 1 else RankingDataset.concat(datasets)
    return joined, len(datasets)
