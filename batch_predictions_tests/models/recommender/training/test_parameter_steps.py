"""Parameters by steps: a planted world where the first ones are wrong, and where they stay."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.config import TwoStageConfig
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.training import parameter_steps
from batch_predictions.models.recommender.training.parameter_steps import choose_by_steps
from batch_predictions.models.recommender.training.trainer import RankerTrainer

DAY = date(2024, 3, 31)
TOO_MUCH = {"als": {"regularization": 200.0, "factors": 16}}
TRAINER = RankerTrainer(
    TwoStageConfig(
        exclude_seen=True,
        seed=3,
        generators=("als", "item_neighbours"),
        generator_params=TOO_MUCH,
    )
)


def tastes(users: int, items_each: int = 4, items: int = 300, groups: int = 50) -> Interactions:
    """Pairs without times: a user takes random items of one of many small groups.

    With so few items a user, much regularization leaves nothing of the factors.
    """
    random = np.random.default_rng(1)
    per_group = items // groups
    rows = []
    for user in range(users):
        for item in random.choice(per_group, items_each, replace=False):
            rows.append((f"u{user}", f"i{int(item) * groups + user % groups:03}", DAY, 1.0))
    names = ("user_id", "item_id", "date", "events")
    columns = map(list, zip(*rows, strict=True))
    return Interactions.from_table(pa.table(dict(zip(names, columns, strict=True))))


def test_a_generator_moves_to_the_parameters_that_the_data_need() -> None:
    lines: list[str] = []
    trainer = replace(TRAINER, progress=lines.append)
    chosen = choose_by_steps(tastes(1_500), DAY, trainer).config.generator_params
    assert chosen["als"]["regularization"] <= 60.0
    # Other parameters stay, and so does a generator without scales.
    assert chosen["als"]["factors"] == 16 and set(chosen) == {"als"}
    (line,) = lines
    before, after = map(float, re.findall(r"0\.\d{4}", line))
    assert before < 0.1 and after > 0.5
    assert f"regularization {chosen['als']['regularization']:g}" in line
    again = choose_by_steps(tastes(1_500), DAY, TRAINER).config.generator_params
    assert again == chosen


def test_few_users_cannot_tell_settings_apart() -> None:
    assert choose_by_steps(tastes(900), DAY, TRAINER) is TRAINER


def test_lists_that_repeat_items_keep_the_declared_parameters() -> None:
    trainer = replace(TRAINER, config=replace(TRAINER.config, exclude_seen=False))
    assert choose_by_steps(tastes(1_500), DAY, trainer) is trainer


def test_of_many_rows_those_of_a_sample_of_users_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tastes(1_500)
    monkeypatch.setattr(parameter_steps, "MAX_ROWS", 4_100)
    sampled = parameter_steps._sampled(rows, seed=3)
    assert 4_000 < len(sampled) <= 4_100
    # Users are drawn whole.
    assert set(np.bincount(sampled.users)[np.unique(sampled.users)]) == {4}
