"""Generators that must show a gain: planted worlds where one is needed, and where it is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.training.caching_trainer import CachingTrainer
from batch_predictions.models.recommender.training.generator_search import (
    choose_generators,
    without_generators,
)
from batch_predictions.models.recommender.training.parameter_search import search_parameters
from batch_predictions.models.recommender.training.ranking_evaluation import validation_holdout
from batch_predictions_tests.models.recommender.training.test_parameter_search import (
    DAY,
    TRAINER,
    tastes,
)

NEIGHBOURS, ALS = "item_neighbours", "als"


@pytest.mark.parametrize(("name", "is_used"), [(NEIGHBOURS, True), (ALS, False)])
def test_a_generator_is_used_where_lists_gain_by_it(name: str, is_used: bool) -> None:
    # ALS, regularized too much, has learned nothing; neighbours know every user's group.
    lines: list[str] = []
    config = replace(TRAINER.config, must_gain=(name,))
    trainer = replace(TRAINER, config=config, progress=lines.append)
    holdout = validation_holdout(tastes(1_500), DAY, config)
    fitted = trainer.fit_generators(holdout.train, holdout.as_of)
    ensemble, [result] = choose_generators(trainer, holdout, fitted)
    assert (name in {generator.name for generator in ensemble.generators}) == is_used
    assert (result.gain.lower > 0) == is_used and result.name == name
    assert abs(result.ndcg_with - result.ndcg_without - result.gain.mean) < 1e-9
    assert lines[-1].startswith(f"{name} is {'used' if is_used else 'left out'}: NDCG@20")
    # The same rows decide the same.
    assert choose_generators(trainer, holdout, fitted)[1] == [result]


def test_the_search_leaves_out_what_adds_nothing_and_has_decided_then() -> None:
    trainer = replace(TRAINER, config=replace(TRAINER.config, must_gain=(ALS,)))
    result = search_parameters(tastes(1_500), DAY, trainer, minutes=0.001)
    assert result.trainer.config.generators == (NEIGHBOURS,)
    assert result.trainer.config.must_gain == ()
    used = [trial for trial in result.trials if "used" in trial.setting]
    assert [trial.setting["used"] for trial in used] == [False, True]


def test_few_users_show_no_gain() -> None:
    trainer = replace(TRAINER, config=replace(TRAINER.config, must_gain=(ALS,)))
    result = search_parameters(tastes(900), DAY, trainer)
    assert result.trainer.config.generators == (NEIGHBOURS,)
    assert "als, which must show a gain, is left out" in result.why


def test_without_doubt_the_trainer_stays() -> None:
    assert without_generators(TRAINER, [ALS]) is TRAINER


def test_generators_of_the_search_are_those_of_the_newest_label_window() -> None:
    """They take minutes, and are fitted once."""
    random = np.random.default_rng(3)
    rows = [
        (f"u{user:04}", f"i{int(item):02}", DAY - timedelta(days=age), 1.0)
        for user in range(1_100)
        for item, age in zip(random.choice(60, 4, replace=False), (30, 30, 10, 3), strict=True)
    ]
    names = ("user_id", "item_id", "date", "events")
    table = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    interactions, lines = Interactions.from_table(table), list[str]()
    trainer = CachingTrainer(TRAINER.config, progress=lines.append)
    result = search_parameters(interactions, DAY, trainer, minutes=0.001)
    assert not result.why
    before_hold_out = DAY - timedelta(days=7)
    result.trainer.build_datasets(interactions.up_to(before_hold_out), before_hold_out)
    fits = [line for line in lines if line.startswith(f"fitting {NEIGHBOURS} ")]
    through = [line.split("through ")[1] for line in fits]
    assert through.count(str(DAY - timedelta(days=14))) == 1
