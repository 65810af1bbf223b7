"""Models of queries on worlds whose answers are known, on worlds without any, and with a leak."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binom

from batch_predictions.features.history.history_sql import History
from batch_predictions.models.queries.candidate_trainer import CandidateTrainer
from batch_predictions.models.queries.first_events import event_days, interval_ends
from batch_predictions.models.queries.query_answers import calibration_rows, strongest_features
from batch_predictions.models.queries.query_candidates import query_candidates
from batch_predictions.models.queries.query_examples import QueryExamples, query_windows
from batch_predictions.models.queries.query_model import MODEL_FILE, QueryModel
from batch_predictions.models.queries.query_selection import QuerySelection, select_query_model
from batch_predictions.models.queries.query_training import train_query
from batch_predictions.settings import Settings
from batch_predictions.settings.predictive_query import PredictiveQuery
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.query_worlds import (
    CATEGORIES,
    FIRST,
    LAST,
    RandomWorld,
    purchases,
    query_warehouse,
)

WEEK = dt.timedelta(days=7)
USERS = 400
RATES = np.random.default_rng(1).choice([0.01, 0.05, 0.2, 0.5], USERS)
MEAN_AMOUNT = 10.0


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """Users buy at constant rates, most of it of one category."""
    favourites = np.arange(USERS) % 4
    return query_warehouse(tmp_path_factory.mktemp("world"), purchases(RATES, 2, favourites))


def _train(warehouse: Warehouse, text: str, refit: bool = False) -> QuerySelection:
    query = PredictiveQuery.from_question(text)
    return train_query(warehouse, Settings(home=Path(warehouse.home)), query, LAST, refit=refit)


def _users(selection: QuerySelection) -> list[int]:
    assert selection.test is not None
    return [int(user[1:]) for user in selection.test.rows["user_id"].to_pylist()]


def _predicted(selection: QuerySelection, column: str) -> np.ndarray[Any, Any]:
    assert selection.tested is not None and selection.test is not None
    return selection.tested.predict(selection.test.rows)[column]


def test_expected_sums_are_those_of_the_world(warehouse: Warehouse) -> None:
    selection = _train(warehouse, "sum(amount) of purchase for user in 14 days")
    expected = 14 * RATES[_users(selection)] * MEAN_AMOUNT
    predicted = _predicted(selection, "value")
    assert predicted.sum() == pytest.approx(expected.sum(), rel=0.05)
    for rate in np.unique(expected):
        assert predicted[expected == rate].mean() == pytest.approx(rate, rel=0.25, abs=1.5)
    assert selection.test is not None
    lower, upper = (_predicted(selection, end) for end in ("lower", "upper"))
    covered = ((selection.test.target >= lower) & (selection.test.target <= upper)).mean()
    assert 0.74 < covered < 0.95, "80 % intervals; those who buy nothing are all inside"


def test_probabilities_are_calibrated(warehouse: Warehouse) -> None:
    selection = _train(warehouse, "count(*) > 0 of purchase for user in 7 days")
    expected = 1 - (1 - RATES[_users(selection)]) ** 7
    assert np.abs(_predicted(selection, "probability") - expected).mean() < 0.08
    assert selection.tested is not None and selection.test is not None
    for row in calibration_rows(selection.tested, selection.test):
        assert row["predicted"] == pytest.approx(row["observed"], abs=0.25)


@pytest.mark.slow
def test_times_to_the_first_event_follow_the_hazards(warehouse: Warehouse) -> None:
    selection = _train(warehouse, "first(date) of purchase for user in 28 days")
    rates = RATES[_users(selection)]
    probability, median = (_predicted(selection, name) for name in ("probability", "value"))
    assert np.abs(probability - (1 - (1 - rates) ** 28)).mean() < 0.08
    for rate in (0.05, 0.2):
        expected = np.log(0.5) / np.log(1 - rate)
        assert np.nanmedian(median[rates == rate]) == pytest.approx(expected, rel=0.35)
    # Half of the rarest buyers have bought nothing within the window.
    assert np.isnan(median[rates == 0.01]).mean() > 0.8


def test_lists_begin_with_the_favourite_category(warehouse: Warehouse) -> None:
    selection = _train(warehouse, "top(2, category) of purchase for user in 14 days")
    assert selection.test is not None
    probabilities = _predicted(selection, "probability")
    values = selection.test.rows["category"].to_pylist()
    best: dict[int, tuple[float, str]] = {}
    for user, value, probability in zip(_users(selection), values, probabilities, strict=True):
        best[user] = max(best.get(user, (0.0, "")), (float(probability), value))
    frequent = [user for user in best if RATES[user] >= 0.2]
    hits = [best[user][1] == CATEGORIES[user % 4] for user in frequent]
    assert np.mean(hits) > 0.97


@pytest.mark.slow
def test_a_model_is_stored_and_scores_the_same_in_any_batch(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    texts = {
        "mean": "sum(amount) of purchase for user in 14 days",
        "probability": "count(*) > 0 of purchase for user in 7 days",
        "first": "first(date) of purchase for user in 28 days",
    }
    for name, text in texts.items():
        selection = _train(warehouse, text)
        assert selection.test is not None and selection.best_trees is not None
        for number, model in enumerate([selection.tested, selection.best_trees]):
            assert model is not None
            folder = tmp_path / f"{name}{number}"
            folder.mkdir()
            model.save(folder)
            loaded = QueryModel.load(folder)
            rows = selection.test.rows
            whole = model.predict(rows)
            for column, values in loaded.predict(rows).items():
                np.testing.assert_array_equal(values, whole[column])
            parts = [rows.slice(0, 7), rows.slice(7)]
            for column, values in whole.items():
                both = np.concatenate([loaded.predict(part)[column] for part in parts])
                np.testing.assert_array_equal(both, values)
            assert loaded.reasons(rows.slice(3, 2)) == model.reasons(rows)[3:5]
        reasons = selection.best_trees.reasons(selection.test.rows)
        assert all(reason and "it)" in reason for reason in reasons)


@pytest.mark.slow
def test_two_trainings_give_equal_models(warehouse: Warehouse, tmp_path: Path) -> None:
    first, second = (
        _train(warehouse, "count(*) > 0 of purchase for user in 7 days", refit=True)
        for _ in range(2)
    )
    texts = []
    for selection in (first, second):
        selection.model.save(tmp_path)
        texts.append((tmp_path / MODEL_FILE).read_text())
    assert texts[0] == texts[1]
    assert first.metrics == second.metrics


def test_windows_do_not_overlap() -> None:
    query = PredictiveQuery.from_question("count(*) of purchase for user in 14 days from 3")
    windows = query_windows(query, FIRST, LAST, with_test=True)
    assert windows is not None and windows.test_day is not None
    length = 17
    assert (LAST - windows.test_day).days == length
    assert (windows.test_day - windows.calibration_day).days == length
    assert (windows.calibration_day - windows.fit_days[-1]).days == length
    serving = query_windows(query, FIRST, LAST, with_test=False)
    assert serving is not None
    assert (LAST - serving.calibration_day).days == length
    assert query_windows(query, LAST, LAST, with_test=True) is None


def test_too_little_history_is_said(warehouse: Warehouse) -> None:
    selection = _train(warehouse, "count(*) of purchase for user in 90 days")
    assert selection.model.unserved_reason == selection.why
    assert "298 days of the events are needed" in selection.why


def test_a_misspelt_event_is_answered_with_the_types_that_there_are(warehouse: Warehouse) -> None:
    selection = _train(warehouse, "count(*) of purchases where quantity > 0 for user in 7 days")
    assert "no events 'purchases' where quantity > 0; types of events: purchase" in selection.why
    assert selection.model.unserved_reason == selection.why


def test_lists_of_items_must_beat_the_popular_ones(warehouse: Warehouse) -> None:
    query = PredictiveQuery.from_question("top(2, item_id) of purchase for user in 14 days")
    names = [*History.of((query,), ()).features()]
    candidates = query_candidates(query, names, 1, is_never_negative=True, intervals=0)
    assert candidates[0].name == "popularity"


def test_pairs_without_any_event_are_too_few_and_no_error(warehouse: Warehouse) -> None:
    why = _train(warehouse, "top(2, brand) of purchase for user in 14 days").why
    assert "of 0 examples for fitting" in why


def test_quotients_by_zero_do_not_count(tmp_path: Path) -> None:
    events = purchases(np.full(40, 0.3), seed=1)
    warehouse = query_warehouse(tmp_path, [(*event[:3], 0.0) for event in events])
    selection = _train(warehouse, "sum(quantity / amount) of purchase for user in 7 days")
    assert "with a value" in selection.why or "with different values" in selection.why


def test_worlds_without_signal_are_rarely_accepted() -> None:
    n = 40
    accepted = sum(RandomWorld(seed).select().beats_baseline for seed in range(n))
    # Each of two candidates passes by chance with 2.5 %: 5 % at most.
    assert accepted <= binom.ppf(0.999, n, 0.05)


def test_a_signal_is_accepted_and_its_feature_is_named() -> None:
    selection = RandomWorld(3, signal="feature", n=400).select()
    assert selection.beats_baseline
    assert strongest_features(selection)[0]["feature"] == "asked_mean_gap"
    assert not selection.left_out


def test_where_the_newest_windows_have_negative_values_another_candidate_is_fitted() -> None:
    world = RandomWorld(1, "sum(amount) of purchase for user in 7 days")

    def read(day: dt.date) -> QueryExamples:
        examples = world.read(day)
        return examples if day < LAST - WEEK else QueryExamples(examples.rows, -examples.target)

    lines: list[str] = []
    trainer = CandidateTrainer(world.query, world.history, read, 7, lines.append)
    windows = query_windows(world.query, FIRST, LAST - WEEK, with_test=True)
    assert windows is not None
    models, _ = trainer.fit_all(windows)
    assert "lightgbm_tweedie" in models
    name, model = trainer.refit("lightgbm_tweedie", FIRST, LAST)
    assert name == "average" and model.floor is None
    assert "lightgbm_tweedie cannot be fitted on the newest windows: average serves" in lines


def test_texts_of_few_users_are_not_kept_in_a_model() -> None:
    world = RandomWorld(3)

    def read(day: dt.date) -> QueryExamples:
        examples = world.read(day)
        texts = [f"street {n}" if n < 5 else ("town", "village")[n % 2] for n in range(world.n)]
        rows = examples.rows.drop_columns("user_location")
        return QueryExamples(rows.append_column("user_location", pa.array(texts)), examples.target)

    selection = select_query_model(
        world.query, world.history, read, FIRST, LAST, seed=7, refit=False
    )
    assert selection.tested is not None
    [location] = [text for text in selection.tested.encoder.texts if text.key is None]
    assert set(location.values) == {"town", "village"}


def test_an_attribute_that_knows_the_future_is_left_out_and_named() -> None:
    selection = RandomWorld(3, signal="attribute", n=400).select()
    assert selection.left_out == ("user_attributes[lifetime_value]",)
    assert "left out, since its values of today" in selection.why
    assert not selection.beats_baseline


def test_quantiles_of_days_are_interpolated_within_an_interval() -> None:
    ends = interval_ends(14)
    assert ends[-1] == 14
    assert (np.diff(ends) > 0).all()
    survived = 0.9 ** ends.astype(float)[None]
    [[lower, median, upper]] = event_days(survived, ends)
    assert lower == pytest.approx(1.0, abs=0.1)
    assert median == pytest.approx(np.log(0.5) / np.log(0.9), abs=0.4)
    assert np.isnan(upper)
