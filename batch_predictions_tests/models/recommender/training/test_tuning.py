"""The search for parameters: within its spaces, repeatable, and blind to the hold-out's days."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.ranker.gbdt_ranker import LIGHTGBM_PARAMS
from batch_predictions.models.recommender.training.config import TwoStageConfig
from batch_predictions.models.recommender.training.trainer import RankerTrainer
from batch_predictions.models.recommender.training.tuning import tune

THROUGH = date(2024, 3, 31)
TRAINER = RankerTrainer(
    TwoStageConfig(
        exclude_seen=False,
        seed=5,
        max_labelled_users=60,
        generators=("ease", "own_history"),
    )
)


def colours(last_days: int = 0) -> Interactions:
    """Users take items of their colour; in the last days they take the other colour's."""
    random = np.random.default_rng(0)
    rows = []
    for user in range(30):
        for day in range(40):
            colour = (user + (day < last_days)) % 2
            item = int(random.integers(8)) * 2 + colour
            rows.append((f"u{user:02}", f"i{item:02}", THROUGH - timedelta(days=day), 1.0))
    names = ("user_id", "item_id", "date", "events")
    columns = map(list, zip(*rows, strict=True))
    return Interactions.from_table(pa.table(dict(zip(names, columns, strict=True))))


def test_parameters_are_found_within_their_spaces_and_logged() -> None:
    lines: list[str] = []
    tuned = tune(colours(), THROUGH, replace(TRAINER, progress=lines.append), trials=8).config
    assert 3.0 <= tuned.generator_params["ease"]["l2"] <= 1000.0
    assert 20 <= tuned.generator_params["own_history"]["half_life_days"] <= 200
    assert 40 <= tuned.ranker_params["rounds"] <= 100
    assert [line for line in lines if line.startswith("tuned ease in 2 trials")]
    (ranker,) = [line for line in lines if line.startswith("tuned ranker in 4 trials")]
    best, default = re.findall(r"0\.\d{4}(?= with|,)", ranker)[:2]
    assert float(best) >= float(default) > 0


def test_the_defaults_are_tried_first() -> None:
    config = replace(TRAINER.config, generators=("own_history",))
    tuned = tune(colours(), THROUGH, RankerTrainer(config), trials=2).config
    assert tuned.generator_params["own_history"] == {"half_life_days": 90}
    assert tuned.ranker_params == {name: LIGHTGBM_PARAMS[name] for name in tuned.ranker_params}
    config = replace(
        config,
        generator_params={"own_history": {"half_life_days": 30}},
        ranker_params={"rounds": 41},
    )
    tuned = tune(colours(), THROUGH, RankerTrainer(config), trials=2).config
    assert tuned.generator_params["own_history"]["half_life_days"] == 30
    assert tuned.ranker_params["rounds"] == 41


def test_the_days_of_the_hold_out_are_not_read() -> None:
    tuned = tune(colours(), THROUGH, TRAINER, trials=4)
    other = tune(colours(last_days=7), THROUGH, TRAINER, trials=4)
    assert tuned.config == other.config


def test_without_users_to_evaluate_nothing_is_tuned() -> None:
    one_row = Interactions.from_table(
        pa.table({"user_id": ["a"], "item_id": ["x"], "date": [THROUGH], "events": [1.0]})
    )
    assert tune(one_row, THROUGH, TRAINER, trials=4) == TRAINER
