"""Which members a ranker has: planted lists where one of them is right."""

from __future__ import annotations

import numpy as np

from batch_predictions.models.recommender.features.candidate_features import FeatureColumn
from batch_predictions.models.recommender.training.config import TwoStageConfig
from batch_predictions.models.recommender.training.dataset import RankingDataset
from batch_predictions.models.recommender.training.ranker_search import _ndcg_at_20, choose_members
from batch_predictions.models.recommender.training.trainer import RankerTrainer

TRAINER = RankerTrainer(TwoStageConfig(exclude_seen=True, seed=3, linear_weight=0.01, threads=1))
COLUMNS = [FeatureColumn("als", "similar"), FeatureColumn("recent", "trend")]


def lists(users: int, candidates: int = 40) -> RankingDataset:
    """One item a list is taken, mostly of the highest weighted sum of two scores.

    Scores of a user lie around a level of its own, which only their standardisation removes: the
    linear model does that, and trees cannot.
    """
    random = np.random.default_rng(5)
    scores = random.standard_normal((users, candidates, 2))
    odds = np.exp(2.5 * scores[..., 0] + 1.5 * scores[..., 1])
    taken = [random.choice(candidates, p=row / row.sum()) for row in odds]
    labels = np.zeros((users, candidates), dtype=np.int8)
    labels[np.arange(users), taken] = 1
    levels = 50 * random.standard_normal((users, 1, 2))
    return RankingDataset(
        (scores + levels).reshape(-1, 2).astype(np.float32),
        labels.ravel(),
        np.full(users, candidates),
        COLUMNS,
    )


def test_the_linear_model_gets_weight_where_it_ranks_better_than_trees() -> None:
    lines: list[str] = []
    trainer = RankerTrainer(TRAINER.config, progress=lines.append)
    config, compared = choose_members(trainer, lists(2_400))
    assert config.linear_weight is not None and config.linear_weight >= 0.5
    settings = [c.setting for c in compared]
    assert settings[0] == {"objectives": "all", "linear_weight": 0.01} and len(settings) == 8
    best = max(compared, key=lambda c: c.ndcg)
    assert best.ndcg > compared[0].ndcg + 0.1
    assert best.setting["linear_weight"] == config.linear_weight
    assert 700 < compared[0].users < 900 and f"{best.ndcg:.4f}" in lines[-1]
    assert choose_members(TRAINER, lists(2_400)) == (config, compared)


def test_few_users_keep_the_declared_members() -> None:
    assert choose_members(TRAINER, lists(200)) == (TRAINER.config, [])


def test_ndcg_of_margins() -> None:
    dataset = RankingDataset(
        np.zeros((5, 2), dtype=np.float32),
        np.array([0, 1, 0, 0, 1], dtype=np.int8),
        np.array([3, 2]),
        COLUMNS,
    )
    values = _ndcg_at_20(np.array([3.0, 2.0, 1.0, 0.0, 5.0]), dataset)
    np.testing.assert_allclose(values, [1 / np.log2(3), 1.0])
