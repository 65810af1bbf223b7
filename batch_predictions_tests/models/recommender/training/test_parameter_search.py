"""Parameter search: a planted world where the declared values are wrong, and where they stay."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.training import parameter_search
from batch_predictions.models.recommender.training.config import TwoStageConfig
from batch_predictions.models.recommender.training.parameter_search import (
    ParameterSearch,
    default_minutes,
    search_parameters,
)
from batch_predictions.models.recommender.training.ranking_evaluation import validation_holdout
from batch_predictions.models.recommender.training.search_plot import plot_search
from batch_predictions.models.recommender.training.trainer import RankerTrainer

DAY = date(2024, 3, 31)
TOO_MUCH = {"als": {"regularization": 200.0, "factors": 16, "iterations": 4}}
TRAINER = RankerTrainer(
    TwoStageConfig(
        exclude_seen=True,
        seed=3,
        generators=("als", "item_neighbours"),
        generator_params=TOO_MUCH,
        ranker_params={"rounds": 4},
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


def search(users: int, **arguments: object) -> ParameterSearch:
    return search_parameters(tastes(users), DAY, TRAINER, **arguments)  # type: ignore[arg-type]


def test_a_generator_moves_to_the_parameters_that_the_data_need() -> None:
    lines: list[str] = []
    trainer = replace(TRAINER, progress=lines.append)
    result = search_parameters(tastes(1_500), DAY, trainer, minutes=0.25)
    chosen = result.trainer.config.generator_params
    regularization = chosen["als"]["regularization"]
    assert isinstance(regularization, float | int) and regularization <= 60.0
    # A generator without scales stays as it is.
    assert set(chosen) == {"als"}
    line = next(line for line in lines if line.startswith("als:"))
    before, after = map(float, re.findall(r"0\.\d{4}", line))
    assert before < 0.1 and after > 0.5
    assert f"regularization {chosen['als']['regularization']:g}" in line
    again = search(1_500, minutes=0.25)
    assert again.trainer.config == result.trainer.config and again.trials == result.trials


@pytest.mark.slow
def test_the_declared_values_and_those_of_the_last_training_reach_the_last_round() -> None:
    last = {"alpha": 12.5, "regularization": 3.0}
    result = search(2_500, minutes=0.4, previous={"als": last})
    trials = [trial for trial in result.trials if trial.name == "als"]
    most = max(trial.users for trial in trials)
    final = [trial.setting for trial in trials if trial.users == most]
    declared = {"alpha": 10.0, "regularization": 200.0}
    assert declared in final and {**declared, **last} in final
    # Half of the users in the first round, and a third of the settings in the last.
    first = [trial for trial in trials if trial.users < most]
    assert len(first) > 2 * len(final)
    assert result.summary()["budget_minutes"] == 0.4


def test_the_budget_bounds_the_settings() -> None:
    trials = [trial for trial in search(1_500, minutes=0.12).trials if trial.name == "als"]
    # A setting is estimated at 1.15 s: six of them, those nearest to the declared one.
    assert len(trials) == 6 and trials[0].is_declared
    assert trials[-1].minutes <= 0.12
    for trial in trials:
        assert trial.setting["alpha"] in {10.0, 40.0}
        assert trial.setting["regularization"] in {200.0, 60.0, 600.0, 20.0}
    # Three are compared however small the budget is.
    assert len([t for t in search(1_500, minutes=0.001).trials if t.name == "als"]) == 3


def test_the_default_budget_follows_the_rows() -> None:
    assert [default_minutes(rows) for rows in (1_000, 500_000, 10**9)] == [1.0, 6.0, 15.0]


def test_few_users_cannot_tell_settings_apart() -> None:
    result = search(900)
    assert result.trainer is TRAINER and not result.trials and "900 users" in result.why


def test_the_days_of_the_hold_out_are_not_read() -> None:
    def rows_with(last_item: str) -> Interactions:
        days = [DAY - timedelta(days=day) for day in range(40)]
        columns = {
            "user_id": [f"u{number % 5}" for number in range(40)],
            "item_id": [last_item if day < 7 else f"i{day % 9}" for day in range(40)],
            "date": days,
            "events": [1.0] * 40,
        }
        return Interactions.from_table(pa.table(columns))

    config = TRAINER.config
    one, other = (validation_holdout(rows_with(item), DAY, config) for item in ("x", "y"))
    assert one.as_of == DAY - timedelta(days=2 * config.window_days)
    assert one.train.item_ids.equals(other.train.item_ids) and one.item_ids.equals(other.item_ids)
    assert (one.relevant != other.relevant).nnz == 0


def test_lists_that_repeat_items_keep_the_declared_parameters() -> None:
    trainer = replace(TRAINER, config=replace(TRAINER.config, exclude_seen=False))
    result = search_parameters(tastes(1_500), DAY, trainer)
    assert result.trainer is trainer and "repeat" in result.why


def test_of_many_rows_those_of_a_sample_of_users_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tastes(1_500)
    monkeypatch.setattr(parameter_search, "MAX_ROWS", 4_100)
    sampled = parameter_search._sample_users(rows, 1.0, seed=3)
    assert 4_000 < len(sampled) <= 4_100
    # Users are drawn whole.
    assert set(np.bincount(sampled.users)[np.unique(sampled.users)]) == {4}
    assert 2_000 < len(parameter_search._sample_users(rows, 0.5, seed=3)) <= 2_050


def test_the_plot_shows_every_setting_beside_the_declared_one() -> None:
    assert plot_search([]) is None
    trials = search(1_500, minutes=0.08).trials
    figure = plot_search(trials)
    assert figure is not None
    (ax,) = figure.axes
    names = list(dict.fromkeys(trial.name for trial in trials))
    assert [str(c.get_label()).split(":")[0] for c in ax.collections] == names
    assert sum(len(np.asarray(c.get_offsets())) for c in ax.collections) == len(trials)
    assert "regularization" in str(ax.collections[0].get_label())
