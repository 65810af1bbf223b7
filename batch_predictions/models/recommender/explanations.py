"""The reason of each recommendation, from a fixed vocabulary, by what raised its score.

The reason is the group of the ranker's features that raised the score most (Banzhaf values of the
groups, and the linear model's terms), among those that are true of the item: only an item of the
history was bought before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Positions
from batch_predictions.models.forest.banzhaf import sum_players
from batch_predictions.models.recommender.base import Ranking, Recommender
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.features.table import generator_columns
from batch_predictions.models.recommender.generators.base import generators
from batch_predictions.models.recommender.generators.candidate_generation import FittedGenerator
from batch_predictions.models.recommender.ranker.two_stage import (
    ExplainedRanking,
    TwoStageRecommender,
)

BOUGHT_BEFORE = "bought_before"
VIEWED_BEFORE = "viewed_before"
BECAUSE = "because_you_liked:"
SEGMENT = "popular_with_your_segment"
TRENDING = "trending"
PROMOTION = "on_promotion"
GROUPS = ("own", "similar", "segment", "trend", "promotion")
OWN, SIMILAR, TREND = GROUPS.index("own"), GROUPS.index("similar"), GROUPS.index("trend")
ON_PROMOTION = GROUPS.index("promotion")
TEXTS = {"own": BOUGHT_BEFORE, "segment": SEGMENT, "trend": TRENDING, "promotion": PROMOTION}


def explain_lists(
    model: Recommender,
    ranking: Ranking,
    columns: Positions,
    histories: Histories,
    item_features: ItemFeatures,
    in_history: npt.NDArray[np.bool_],
    was_taken: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[Any]:
    """The reason of every recommended item, (n, k); None where there is no item.

    Args:
        model: that ranked.
        ranking: its ranking, (n, m).
        columns: columns of the ranking that are recommended, -1 at the end, (n, k).
        histories: of the users.
        item_features: of the model's items, as of the day.
        in_history: whether each ranked item is in the user's history, (n, m).
        was_taken: whether the user has taken it, not only viewed it, (n, m); None: as in_history.
    """
    is_item = columns >= 0
    safe_columns = np.maximum(columns, 0)
    picks = np.where(is_item, np.take_along_axis(ranking.positions, safe_columns, axis=1), -1)
    was_taken = in_history if was_taken is None else was_taken
    is_known = np.take_along_axis(in_history, safe_columns, axis=1) & is_item
    is_taken = np.take_along_axis(was_taken, safe_columns, axis=1) & is_item
    strength = np.full((*picks.shape, len(GROUPS)), -np.inf)
    if isinstance(model, TwoStageRecommender) and isinstance(ranking, ExplainedRanking):
        rows = np.take_along_axis(ranking.rows, safe_columns, axis=1)
        players = _Players.of(model)
        contributions = _contributions(model, ranking, rows[is_item], players)
        strength[is_item] = players.sum_by_group(contributions)
        _mask_invalid(strength, picks, is_known, item_features)
        contributors = _top_contributors(
            players, contributions, is_item, picks, histories, strength
        )
    else:
        strength[..., GROUPS.index(_reason_of(model))] = 1.0
        contributors = model.explain(histories, picks)
        # An item of the history is explained by that, whatever the model.
        strength[..., OWN] = 2.0
        _mask_invalid(strength, picks, is_known, item_features)
    strength[..., SIMILAR][(contributors < 0) | (contributors == picks)] = -np.inf
    best = strength.argmax(axis=2)
    is_positive = np.take_along_axis(strength, best[..., np.newaxis], axis=2)[..., 0] > 0
    # Nothing raised the score: the item is left over from what is popular.
    best = np.where(is_positive, best, TREND)
    texts = np.array([TEXTS.get(group, "") for group in GROUPS], dtype=object)[best]
    texts[(best == OWN) & ~is_taken] = VIEWED_BEFORE
    is_similar = is_item & (best == SIMILAR)
    if is_similar.any():
        names = model.items.take(contributors[is_similar]).to_pylist()
        texts[is_similar] = [f"{BECAUSE}{name}" for name in names]
    texts[~is_item] = None
    return texts


def _mask_invalid(
    strength: npt.NDArray[np.generic],
    picks: Positions,
    is_known: npt.NDArray[np.bool_],
    item_features: ItemFeatures,
) -> None:
    """Masks reasons that are not true: bought or viewed before, and on promotion.

    A list is looked up on the day after it was made, so a promotion must hold on that day.
    """
    strength[..., OWN][~is_known] = -np.inf
    is_promoted = np.zeros(len(item_features.items), dtype=bool)
    if item_features.promotions is not None:
        is_promoted = item_features.promotions.is_promoted_tomorrow
    strength[..., ON_PROMOTION][~is_promoted[np.maximum(picks, 0)]] = -np.inf


@dataclass(frozen=True)
class _Players:
    """Groups of the ranker's columns whose contributions are told apart.

    Attributes:
        of_column: the player of each column, (f,).
        groups: the feature group of each player, (players,).
        explainers: generators that can name an item of the history, with their players.
    """

    of_column: list[int]
    groups: list[str]
    explainers: list[tuple[FittedGenerator, int]]

    @classmethod
    def of(cls, model: TwoStageRecommender) -> _Players:
        """A player for the columns of each generator that explains, and one for each group."""
        # ALS solves a system of equations for each pick, and the others explain as well.
        explainers = [
            generator
            for generator in model.ensemble.generators
            if generator.declaration.reason == "similar" and generator.model.kind != "als"
        ]
        names = {
            column: generator.name
            for generator in explainers
            for column in generator_columns(generator.name)
        }
        players: dict[tuple[str, str], int] = {}
        of_column = [
            players.setdefault((column.group, names.get(column.name, "")), len(players))
            for column in model.params.columns
        ]
        return cls(
            of_column,
            [group for group, _ in players],
            [
                (generator, players["similar", generator.name])
                for generator in explainers
                if ("similar", generator.name) in players
            ],
        )

    def sum_by_group(self, contributions: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Contributions by group, (rows, groups); the user's own features belong to none."""
        sums = np.zeros((len(contributions), len(GROUPS)))
        for player, group in enumerate(self.groups):
            if group in GROUPS:
                sums[:, GROUPS.index(group)] += contributions[:, player]
        return sums


def _contributions(
    model: TwoStageRecommender,
    ranking: ExplainedRanking,
    rows: Positions,
    players: _Players,
) -> npt.NDArray[np.generic]:
    """Each player's contribution to the margins of some rows, (rows, players)."""
    contributions = np.zeros((len(rows), len(players.groups)))
    if not len(rows):
        return contributions
    if model.ranker.trees is not None:
        contributions += model.ranker.trees.contributions(ranking.features[rows], players.of_column)
    if ranking.linear_contributions is not None:
        contributions += sum_players(ranking.linear_contributions[rows], players.of_column)
    return contributions


def _top_contributors(
    players: _Players,
    contributions: npt.NDArray[np.generic],
    is_item: npt.NDArray[np.bool_],
    picks: Positions,
    histories: Histories,
    strength: npt.NDArray[np.generic],
) -> Positions:
    """The history item that explains each pick, by the generator that raised its score most."""
    explainers = players.explainers
    contributors = np.full(picks.shape, -1, dtype=np.int64)
    if not explainers or not len(contributions):
        return contributors
    raised = np.full((*picks.shape, len(explainers)), -np.inf)
    for place, (_, player) in enumerate(explainers):
        raised[is_item, place] = contributions[:, player]
    order = np.argsort(-raised, axis=2, kind="stable")
    needs_item = is_item & (strength.argmax(axis=2) == SIMILAR)
    for rank in range(len(explainers)):
        for place, (generator, _) in enumerate(explainers):
            is_next = needs_item & (contributors < 0) & (order[..., rank] == place)
            if is_next.any():
                items = generator.explain(histories, np.where(is_next, picks, -1))
                is_explained = is_next & (items != picks)
                contributors = np.where(is_explained, items, contributors)
    return contributors


def _reason_of(model: Recommender) -> str:
    """The group of a model that serves alone."""
    declared = generators().values()
    return next((g.reason for g in declared if g.recommender_class is type(model)), "trend")
