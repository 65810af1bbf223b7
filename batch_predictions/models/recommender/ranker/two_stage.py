"""The two-stage recommender: generators propose candidates, a ranker orders them.

A blend is one whose ranker is a conditional logit of the generators' scores alone.

Candidates are ranked by gradient-boosted trees (LambdaRank: Burges 2010, "From RankNet to
LambdaRank to LambdaMART"; and cross-entropy over the list) and a conditional logit, over each
generator's score and rank and over features of user, item and both. The ranker is trained on past
windows by `training.trainer`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch_predictions.core.arrays import Floats, Positions
from batch_predictions.models.recommender.base import Ranking, Recommender
from batch_predictions.models.recommender.data.dense_scores import argsort_descending, user_batches
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.data.recommender_manifest import (
    read_manifest,
    write_manifest,
)
from batch_predictions.models.recommender.data.user_states import UserStates
from batch_predictions.models.recommender.features.candidate_features import (
    CandidateBatch,
    FeatureColumn,
)
from batch_predictions.models.recommender.features.table import build_feature_table
from batch_predictions.models.recommender.generators.base import load_generator
from batch_predictions.models.recommender.generators.candidate_generation import GeneratorEnsemble
from batch_predictions.models.recommender.ranker.ranker_ensemble import RankerEnsemble

METADATA = "metadata.parquet"


@dataclass(frozen=True)
class TwoStageParams:
    """Parameters that a trained two-stage recommender keeps besides its models.

    Attributes:
        candidates_per_generator: items that each candidate source proposes.
        columns: columns of the feature table that the ranker was trained on.
        training: what was chosen in training, for people: windows, changed parameters.
    """

    candidates_per_generator: int = 60
    columns: tuple[FeatureColumn, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Restores the parameters from the values of `asdict`, as JSON holds them."""
        columns = tuple(FeatureColumn(**column) for column in values["columns"])
        return cls(values["candidates_per_generator"], columns, values["training"])


@dataclass(frozen=True)
class ExplainedRanking(Ranking):
    """A ranking that keeps what its reasons are computed from.

    Attributes:
        features: feature rows of candidates, ranked or not, (rows, f).
        linear_contributions: contributions of the linear model, (rows, f); None without one.
        rows: the row of each ranked item, -1 for none, (n, k).
    """

    features: Floats
    linear_contributions: Floats | None
    rows: Positions

    def without_other_rows(self) -> ExplainedRanking:
        """Drops the feature rows of candidates that are not ranked."""
        is_ranked = self.rows >= 0
        kept = self.rows[is_ranked]
        rows = np.full_like(self.rows, -1)
        rows[is_ranked] = np.arange(len(kept))
        linear = self.linear_contributions
        return ExplainedRanking(
            self.positions,
            self.scores,
            np.ascontiguousarray(self.features[kept]),
            None if linear is None else linear[kept],
            rows,
        )


class TwoStageRecommender(Recommender):
    """A generator ensemble, and a ranker of its candidates.

    Args:
        ensemble: the fitted generators.
        ranker: the trained ranker.
        params: the number of candidates and the ranker's columns.
        metadata: item_id and a column per attribute; see `ItemMetadata.from_table`.
        name: the name in evaluation tables.
    """

    kind = "two_stage"

    def __init__(
        self,
        ensemble: GeneratorEnsemble,
        ranker: RankerEnsemble,
        params: TwoStageParams,
        metadata: pa.Table | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(ensemble.items, params, name)
        self.ensemble = ensemble
        self.ranker = ranker
        self.metadata = metadata

    def rank(
        self,
        histories: Histories,
        item_features: ItemFeatures,
        k: int,
        *,
        exclude_seen: bool,
        blocked: npt.NDArray[np.bool_] | None = None,
    ) -> ExplainedRanking:
        """Ranks the k best candidates of every user; scores are the ranker's margins."""
        (ranking,) = rank_together(
            [self], histories, item_features, k, exclude_seen=exclude_seen, blocked=blocked
        )
        return ranking

    def user_states(self, histories: Histories) -> UserStates | None:
        """States of users after all their items, of the generator that has them."""
        return self.ensemble.user_states(histories)

    def rank_candidates(self, candidates: CandidateBatch, k: int) -> ExplainedRanking:
        """The k best of one batch's candidates."""
        table, _ = build_feature_table(candidates, self.params.columns)
        is_candidate = candidates.is_candidate
        margins = np.full(is_candidate.shape, np.nan, dtype=np.float32)
        contributions = None
        if len(table):
            margins[is_candidate], contributions = self.ranker.margins(table, candidates.sizes)
        # Equal margins are ordered by position, as everywhere: candidates in that order.
        order = np.argsort(np.where(is_candidate, candidates.positions, len(self.items)), axis=1)
        best = argsort_descending(np.take_along_axis(margins, order, axis=1))[:, :k]
        columns = np.take_along_axis(order, best, axis=1)
        scores = np.take_along_axis(margins, columns, axis=1)
        positions = np.take_along_axis(candidates.positions, columns, axis=1)
        row_of_candidate = np.cumsum(is_candidate.ravel()).reshape(is_candidate.shape) - 1
        is_ranked = np.isfinite(scores)
        rows = np.take_along_axis(row_of_candidate, columns, axis=1)
        return ExplainedRanking(
            _fill_up(positions, is_ranked, k, -1),
            _fill_up(scores, is_ranked, k, -np.inf),
            table,
            contributions,
            _fill_up(rows, is_ranked, k, -1),
        )

    def scores(self, histories: Histories, item_features: ItemFeatures | None = None) -> Floats:
        """The ranker's margins of the candidates, nan for all other items, (n, m)."""
        assert item_features is not None, "the ranker reads the day's item features"
        scores = np.full((histories.users, len(self.items)), np.nan, dtype=np.float32)
        all_candidates = self.params.candidates_per_generator * len(self.ensemble.generators)
        ranking = self.rank(histories, item_features, all_candidates, exclude_seen=False)
        users, ranks = np.nonzero(ranking.positions >= 0)
        scores[users, ranking.positions[users, ranks]] = ranking.scores[users, ranks]
        return scores

    def save(self, folder: Path) -> None:
        """Writes the manifest, the ranker as text, and each generator into a folder of its name."""
        folder.mkdir(parents=True, exist_ok=True)
        write_manifest(
            folder,
            kind=self.kind,
            name=self.name,
            params=asdict(self.params),
            ranker=self.ranker.to_json(),
            generators=[generator.name for generator in self.ensemble.generators],
        )
        self.ranker.save(folder)
        self.ensemble.save(folder)
        if self.metadata is not None:
            is_known = pc.is_in(self.metadata["item_id"], value_set=self.items)
            pq.write_table(self.metadata.filter(is_known), folder / METADATA)

    @classmethod
    def load(cls, folder: Path) -> TwoStageRecommender:
        """Reads what `save` wrote."""
        manifest = read_manifest(folder)
        ensemble = GeneratorEnsemble.load(folder, manifest["generators"])
        params = TwoStageParams.from_json(manifest["params"])
        file = folder / METADATA
        metadata = pq.read_table(file) if file.exists() else None
        ranker = RankerEnsemble.load(folder, manifest["ranker"])
        return cls(ensemble, ranker, params, metadata, manifest["name"])


def _fill_up(
    values: npt.NDArray[Any], is_ranked: npt.NDArray[np.bool_], k: int, filler: float
) -> npt.NDArray[Any]:
    """Values of ranked items (n, m) as k columns, `filler` where there is no item."""
    missing = ((0, 0), (0, k - values.shape[1]))
    return np.pad(np.where(is_ranked, values, filler), missing, constant_values=filler)


def rank_together(
    models: Sequence[TwoStageRecommender],
    histories: Histories,
    item_features: ItemFeatures,
    k: int,
    *,
    exclude_seen: bool,
    blocked: npt.NDArray[np.bool_] | None = None,
) -> list[ExplainedRanking]:
    """Ranks with several models of one ensemble, which share their candidates.

    Args:
        models: two-stage recommenders of equal ensembles.
        histories: n users over the ensemble's items.
        item_features: of these items, as of the day.
        k: items per user.
        exclude_seen: whether items that a user has seen are left out.
        blocked: marks items that no user gets, (m,).
    """
    ensemble = models[0].ensemble
    candidates_per_generator = models[0].params.candidates_per_generator
    batches: list[list[ExplainedRanking]] = [[] for _ in models]
    for _, _, batch in user_batches(histories, ensemble.dense_scores_per_user):
        candidates = ensemble.propose(
            batch, item_features, candidates_per_generator, exclude_seen, blocked
        )
        for model, rankings in zip(models, batches, strict=True):
            ranking = model.rank_candidates(candidates, k)
            is_only = batch.users == histories.users
            # Of many users, the rows of all candidates do not fit into memory.
            rankings.append(ranking if is_only else ranking.without_other_rows())
    return [
        _concatenate(rankings, histories.users, k, len(model.params.columns))
        for model, rankings in zip(models, batches, strict=True)
    ]


def _concatenate(
    batches: list[ExplainedRanking], users: int, k: int, width: int
) -> ExplainedRanking:
    """The rankings of consecutive batches as one."""
    if len(batches) == 1:
        return batches[0]
    positions = np.full((users, k), -1, dtype=np.int64)
    scores = np.full((users, k), -np.inf, dtype=np.float32)
    rows = np.full((users, k), -1, dtype=np.int64)
    user = offset = 0
    for batch in batches:
        span = slice(user, user + len(batch.positions))
        positions[span], scores[span] = batch.positions, batch.scores
        rows[span] = np.where(batch.rows >= 0, batch.rows + offset, -1)
        user, offset = span.stop, offset + len(batch.features)
    features = [batch.features for batch in batches]
    linear = [b.linear_contributions for b in batches if b.linear_contributions is not None]
    return ExplainedRanking(
        positions,
        scores,
        np.concatenate(features) if features else np.empty((0, width), dtype=np.float32),
        np.concatenate(linear) if linear else None,
        rows,
    )


def is_two_stage(folder: Path) -> bool:
    """Returns whether the recommender in a folder ranks the candidates of several others."""
    return bool(read_manifest(folder)["kind"] == TwoStageRecommender.kind)


def load_recommender(folder: Path) -> Recommender:
    """Reads any recommender; its arrays stay on disk and are memory-mapped.

    Raises:
        ValueError: its kind is not known.
    """
    return TwoStageRecommender.load(folder) if is_two_stage(folder) else load_generator(folder)
