"""Trees scored by registers: LightGBM's own answers, to the bit."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_predictions.models.forest.lightgbm_text import UnsupportedModelError
from batch_predictions.models.forest.quickscorer import Forest, predictor
from batch_predictions.models.forest.treeshap import TreeExplainer, explainer


def table(seed: int, rows: int, columns: int, missing: float, kind: Any) -> Any:
    random = np.random.default_rng(seed)
    values = random.standard_normal((rows, columns)) * 10.0 ** random.integers(-3, 4, columns)
    values[:, ::3] = np.round(values[:, ::3])  # Equal values, and values on thresholds.
    values[random.random(values.shape) < missing] = np.nan
    return values.astype(kind)


def trained(rows: Any, trees: int = 12, seed: int = 0, **params: Any) -> lightgbm.Booster:
    random = np.random.default_rng(seed)
    known = np.nan_to_num(rows.astype(np.float64))
    label = np.sign(known[:, 0]) * np.tanh(known[:, -1]) + random.standard_normal(len(rows)) / 4
    common = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 3, "objective": "regression"}
    categories = params.pop("categories", "auto")
    data = lightgbm.Dataset(rows, label, categorical_feature=categories)
    return lightgbm.train({**common, **params}, data, trees)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    leaves=st.integers(2, 64),
    columns=st.integers(1, 9),
    missing=st.sampled_from([0.0, 0.3]),
    asked_missing=st.sampled_from([0.0, 0.3]),
    kind=st.sampled_from([np.float32, np.float64]),
    rows=st.integers(0, 130),
)
def test_margins_are_lightgbms_to_the_bit(
    seed: int, leaves: int, columns: int, missing: float, asked_missing: float, kind: Any, rows: int
) -> None:
    learned = table(seed, 400, columns, missing, kind)
    booster = trained(learned, seed=seed, num_leaves=leaves, boost_from_average=seed % 2 == 0)
    asked = np.concatenate([learned[:70], table(seed + 1, rows, columns, asked_missing, kind)])
    found = Forest.read(booster.model_to_string()).margins(asked)
    np.testing.assert_array_equal(found, booster.predict(asked, raw_score=True))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    leaves=st.integers(2, 50),
    columns=st.integers(1, 12),
    missing=st.sampled_from([0.0, 0.3]),
    kind=st.sampled_from([np.float32, np.float64]),
)
def test_parts_of_features_are_lightgbms(
    seed: int, leaves: int, columns: int, missing: float, kind: Any
) -> None:
    learned = table(seed, 300, columns, missing, kind)
    booster = trained(learned, trees=6, seed=seed, num_leaves=leaves)
    asked = np.concatenate([learned[:50], table(seed + 1, 40, columns, 0.2, kind)])
    expected = np.asarray(booster.predict(asked, pred_contrib=True))[:, :-1]
    found = TreeExplainer.read(booster.model_to_string()).of(asked)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_parts_add_up_to_the_margin_less_its_mean() -> None:
    rows = table(7, 200, 9, 0.1, np.float64)
    model = trained(rows, num_leaves=64).model_to_string()
    rest = predictor(model)(rows) - explainer(model)(rows).sum(axis=1)
    np.testing.assert_allclose(rest, rest[0], atol=1e-9)


def test_the_ends_of_the_number_line_and_of_float32_go_lightgbms_way() -> None:
    learned = table(5, 500, 2, 0.2, np.float64)
    booster = trained(learned, num_leaves=40)
    limits = Forest.read(booster.model_to_string()).limits["float64"]
    ends = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, 3.4e38, 1e-45])
    for kind in (np.float32, np.float64):
        # On a threshold, just above and just below it.
        near = np.concatenate([ends, limits, np.nextafter(limits, 9), np.nextafter(limits, -9)])
        with np.errstate(over="ignore"):
            asked = np.stack([near, near[::-1]], axis=1).astype(kind)
        found = Forest.read(booster.model_to_string()).margins(asked)
        np.testing.assert_array_equal(found, booster.predict(asked, raw_score=True))


def test_a_row_has_one_answer_whatever_rows_stand_around_it() -> None:
    rows = table(1, 300, 6, 0.1, np.float32)
    margins = predictor(trained(rows).model_to_string())
    whole = margins(rows)
    alone = np.concatenate([margins(rows[n : n + 7]) for n in range(0, 300, 7)])
    np.testing.assert_array_equal(whole, alone)


def test_trees_that_are_a_single_leaf_are_sums_all_the_same() -> None:
    rows = table(2, 50, 2, 0.0, np.float64)
    booster = trained(rows, trees=3, min_data_in_leaf=1000)
    found = Forest.read(booster.model_to_string()).margins(rows)
    np.testing.assert_array_equal(found, booster.predict(rows, raw_score=True))


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"num_leaves": 80, "min_data_in_leaf": 1}, "64 leaves"),
        ({"categories": [2], "min_data_per_group": 1, "cat_smooth": 0}, "category"),
        ({"linear_tree": True}, "linear"),
        ({"zero_as_missing": True}, "zeros"),
        ({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, "mean"),
    ],
)
def test_what_only_lightgbm_scores_is_left_to_it(params: dict[str, Any], why: str) -> None:
    rows = np.abs(table(3, 900, 3, 0.0, np.float64))
    text = trained(rows, **params).model_to_string()
    with pytest.raises(UnsupportedModelError, match=why):
        Forest.read(text)
    expected = lightgbm.Booster(model_str=text).predict(rows, raw_score=True)
    np.testing.assert_array_equal(predictor(text)(rows), expected)
    if not params.get("linear_tree"):  # LightGBM does not explain linear leaves.
        parts = lightgbm.Booster(model_str=text).predict(rows, pred_contrib=True)
        np.testing.assert_allclose(explainer(text)(rows), np.asarray(parts)[:, :-1])


def test_several_outputs_are_refused() -> None:
    rows = table(4, 200, 3, 0.0, np.float64)
    labels = np.arange(200) % 3
    params = {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(params, lightgbm.Dataset(rows, labels), 2)
    with pytest.raises(UnsupportedModelError, match="outputs"):
        Forest.read(booster.model_to_string())


def test_rows_of_another_width_are_refused() -> None:
    rows = table(6, 100, 3, 0.0, np.float32)
    forest = Forest.read(trained(rows).model_to_string())
    with pytest.raises(ValueError, match="3 features"):
        forest.margins(rows[:, :2])
