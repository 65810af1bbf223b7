"""Two stages and a blend learn from other users than those on whom they are evaluated."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa

from batch_predictions.models.recommender.combined_evaluation import (
    BLEND,
    TWO_STAGE,
    CombinedEvaluation,
)
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.splits import leave_out
from batch_predictions.models.recommender.ranker.two_stage import TwoStageRecommender
from batch_predictions.models.recommender.training.config import TwoStageConfig
from batch_predictions.models.recommender.training.ranking_evaluation import evaluate
from batch_predictions.models.recommender.training.trainer import RankerTrainer

DAY = date(2024, 3, 31)
CONFIG = TwoStageConfig(
    exclude_seen=True,
    generators=("ease", "recent"),
    ranker_params={"rounds": 5},
    threads=1,
)


def pairs(users: int = 120) -> Interactions:
    """Pairs without times: ten items of one's colour, of thirty."""
    random = np.random.default_rng(1)
    rows = [
        (f"u{user:03}", f"i{int(item) * 4 + user % 4:03}", DAY, 1.0)
        for user in range(users)
        for item in random.choice(30, 10, replace=False)
    ]
    names = ("user_id", "item_id", "date", "events")
    columns = map(list, zip(*rows, strict=True))
    return Interactions.from_table(pa.table(dict(zip(names, columns, strict=True))))


def prepare(config: TwoStageConfig = CONFIG) -> CombinedEvaluation:
    trainer = RankerTrainer(config)
    holdout = leave_out(pairs(), as_of=DAY, seed=1)
    ensemble = trainer.fit_generators(holdout.train, holdout.as_of)
    features = trainer.item_features(holdout.train, holdout.as_of, ensemble.items)
    return CombinedEvaluation.prepare(trainer, holdout, ensemble, features)


def test_where_items_are_hidden_at_random_each_half_learns_from_the_other() -> None:
    combined = prepare()
    assert combined.can_learn and len(combined.datasets) == 2
    first, second = combined.halves
    assert sorted([*first, *second]) == list(range(120)) and len(first) == len(second) == 60
    evaluation = combined.evaluate([BLEND, TWO_STAGE])[BLEND]
    assert evaluation.n == 120 and evaluation.per_user["ndcg@10"].mean() > 0.2
    # The users of a half are ranked by the model that learnt from the other half.
    trained = combined.trainer.fit_blend([combined.datasets[1]])
    model = TwoStageRecommender(combined.ensemble, trained.ranker, trained.params)
    alone = evaluate(model, combined.holdout.take(first), combined.item_features)
    np.testing.assert_array_equal(alone.per_user["ndcg@20"], evaluation.per_user["ndcg@20"][first])
    # All of them teach the one that serves.
    served = combined.fit_for_serving(TWO_STAGE, DAY)
    assert served.params.training["windows"] == 2


def test_users_are_drawn_until_enough_have_a_taken_candidate() -> None:
    trainer, holdout = RankerTrainer(CONFIG), leave_out(pairs(600), as_of=DAY, seed=1)
    # Blocks of 256 users are drawn, nearly all of whom have a taken candidate.
    assert 200 < trainer.build_dataset(holdout, max_users=200).users <= 256
    assert trainer.build_dataset(holdout).users > 500


def test_blocks_are_drawn_without_repeats_and_take_keeps_each_users_items() -> None:
    holdout = leave_out(pairs(), as_of=DAY, seed=1)
    blocks = list(holdout.blocks(50, seed=3))
    assert [len(block.users) for block in blocks] == [50, 50, 20]
    assert sorted(np.concatenate([block.users for block in blocks])) == sorted(holdout.users)
    assert [*holdout.blocks(500, seed=3)] == [holdout]
    place = {user: row for row, user in enumerate(holdout.users)}
    for row, user in enumerate(blocks[0].users):
        assert (blocks[0].relevant[row] != holdout.relevant[place[user]]).nnz == 0
    again = list(holdout.blocks(50, seed=3))
    assert all((a.users == b.users).all() for a, b in zip(blocks, again, strict=True))


def test_numbers_of_labelled_users_and_seeds_follow_the_data() -> None:
    assert [CONFIG.labelled_users(split) for split in ("time", "leave_out")] == [2_500, 10_000]
    named = TwoStageConfig(exclude_seen=True, max_labelled_users=7, ranker_seeds=None)
    assert named.labelled_users("leave_out") == 7
    assert [named.seeds_for(users) for users in (5_999, 6_000)] == [3, 1]
    repeats = TwoStageConfig(exclude_seen=False, ranker_seeds=None)
    assert repeats.seeds_for(10) == 1 and CONFIG.seeds_for(10) == 1
