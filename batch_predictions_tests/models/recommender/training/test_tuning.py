"""The search for parameters: within its spaces, repeatable, and blind to the hold-out's days."""

from __future__ import annotations

import re
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.ranker.gbdt_ranker import RANKER
from batch_predictions.models.recommender.training.trainer import Course
from batch_predictions.models.recommender.training.tuning import tuned

THROUGH = date(2024, 3, 31)
COURSE = Course(exclude_seen=False, seed=5, lesson_users=60, generators=("ease", "own_history"))


def colours(last_days: int = 0) -> Interactions:
    """Users take squares of their colour; in the last days they take the other colour's."""
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


def test_parameters_are_found_within_their_spaces_and_told() -> None:
    said: list[str] = []
    found = tuned(
        colours(),
        THROUGH,
        Course(**{**vars(COURSE), "say": said.append}),
        trials=8,
    )
    assert 3.0 <= found.params["ease"]["l2"] <= 1000.0
    assert 20 <= found.params["own_history"]["half_life_days"] <= 200
    assert 40 <= found.ranker_params["rounds"] <= 100
    assert [line for line in said if line.startswith("tuned ease in 2 trials")]
    (ranker,) = [line for line in said if line.startswith("tuned ranker in 4 trials")]
    found_value, value_before = re.findall(r"0\.\d{4}(?= before|,)", ranker)[:2]
    assert float(found_value) >= float(value_before) > 0


def test_what_is_there_already_is_tried_first() -> None:
    course = Course(**{**vars(COURSE), "generators": ("own_history",)})
    found = tuned(colours(), THROUGH, course, trials=2)
    assert found.params["own_history"] == {"half_life_days": 90}
    assert found.ranker_params == {name: RANKER[name] for name in found.ranker_params}
    other = {"params": {"own_history": {"half_life_days": 30}}, "ranker_params": {"rounds": 41}}
    found = tuned(colours(), THROUGH, Course(**{**vars(course), **other}), trials=2)
    assert found.params["own_history"]["half_life_days"] == 30
    assert found.ranker_params["rounds"] == 41


def test_the_hold_outs_days_are_not_looked_at() -> None:
    one = tuned(colours(), THROUGH, COURSE, trials=4)
    two = tuned(colours(last_days=7), THROUGH, COURSE, trials=4)
    assert one.params == two.params and one.ranker_params == two.ranker_params


def test_without_anybody_to_ask_the_course_stays_as_it_was() -> None:
    few = Interactions.from_table(
        pa.table({"user_id": ["a"], "item_id": ["x"], "date": [THROUGH], "events": [1.0]})
    )
    assert tuned(few, THROUGH, COURSE, trials=4) == COURSE
