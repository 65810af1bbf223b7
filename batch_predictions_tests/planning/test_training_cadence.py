"""Which weeks are trained: every few weeks, and earlier where predictions have drifted."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.training import data_version, trainings
from batch_predictions.models.training_inputs import TrainingInputs
from batch_predictions.planning.run_plan import training_due
from batch_predictions.planning.training_cadence import reason_to_train
from batch_predictions.settings import Settings, SettingsError, TrainingSettings
from batch_predictions.tables import DRIFT
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.arrow_rows import arrow_rows
from batch_predictions_tests.worlds.decisions import decide

TRAINED = dt.date(2024, 3, 3)
WEEKS = [dt.date(2024, 3, 4) + dt.timedelta(days=7 * n) for n in range(5)]


@pytest.fixture
def models(settings: Settings) -> ModelStore:
    """Churn was trained through 3 March."""
    models = ModelStore.of(settings)
    decide(models, "churn", TRAINED)
    return models


def write_drift(
    warehouse: Warehouse,
    day: str,
    psi: float,
    table: str = "predictions.churn_scores",
    reference: dt.date = TRAINED,
) -> None:
    """Drift of one column on a day."""
    row = {
        "table_name": table,
        "column_name": "churn_probability",
        "statistic": "psi",
        "value": psi,
        "reference": reference,
        "n": 100,
    }
    warehouse.replace_partition(DRIFT, day, arrow_rows(DRIFT, [row]))


def due(models: ModelStore, warehouse: Warehouse, settings: Settings) -> list[dt.date]:
    """The Mondays of the weeks in which churn is due."""
    return [week for week in WEEKS if reason_to_train("churn", week, models, warehouse, settings)]


def test_models_are_trained_every_week_by_default(
    models: ModelStore, warehouse: Warehouse, settings: Settings
) -> None:
    assert due(models, warehouse, settings) == WEEKS


def test_models_are_trained_every_few_weeks(
    models: ModelStore, warehouse: Warehouse, settings: Settings
) -> None:
    settings.training = TrainingSettings(every_weeks=4)
    assert due(models, warehouse, settings) == WEEKS[3:]
    reason = reason_to_train("churn", WEEKS[3], models, warehouse, settings)
    assert reason == "not trained since 2024-03-03, 4 weeks ago (training.every_weeks: 4)"
    # A model that was never trained is, and each by its own age.
    assert reason_to_train("demand", WEEKS[0], models, warehouse, settings)
    decide(models, "churn", dt.date(2024, 3, 17))
    assert due(models, warehouse, settings) == []


def test_a_roll_back_is_no_training(
    models: ModelStore, warehouse: Warehouse, settings: Settings
) -> None:
    settings.training = TrainingSettings(every_weeks=2)
    decide(models, "churn", dt.date(2024, 3, 12), "rolled_back")
    assert due(models, warehouse, settings) == WEEKS[1:]


def test_drift_in_a_week_asks_for_its_training(
    models: ModelStore, warehouse: Warehouse, settings: Settings
) -> None:
    settings.training = TrainingSettings(every_weeks=4, max_psi=0.25)
    write_drift(warehouse, "2024-03-12", 0.3)
    assert due(models, warehouse, settings) == [WEEKS[1], *WEEKS[3:]]
    assert reason_to_train("churn", WEEKS[1], models, warehouse, settings) == (
        "predictions.churn_scores.churn_probability of 2024-03-12 has drifted from that of "
        "2024-03-03: PSI 0.30 (at most 0.25: training.max_psi)"
    )


@pytest.mark.parametrize(
    ("day", "psi", "table", "reference"),
    [
        ("2024-03-12", 0.2, "predictions.churn_scores", TRAINED),
        # The Sunday is the first day that the week's model predicts.
        ("2024-03-17", 0.9, "predictions.churn_scores", TRAINED),
        ("2024-03-12", 0.9, "predictions.demand_forecasts", TRAINED),
        ("2024-03-12", 0.9, "predictions.churn_scores", dt.date(2024, 2, 25)),
    ],
    ids=["little", "of the Sunday", "of another model", "from an older training"],
)
def test_other_drift_asks_for_none(
    models: ModelStore,
    warehouse: Warehouse,
    settings: Settings,
    day: str,
    psi: float,
    table: str,
    reference: dt.date,
) -> None:
    settings.training = TrainingSettings(every_weeks=4)
    write_drift(warehouse, day, psi, table, reference)
    assert WEEKS[1] not in due(models, warehouse, settings)


def test_drift_asks_for_nothing_where_the_setting_is_empty(
    models: ModelStore, warehouse: Warehouse, settings: Settings
) -> None:
    settings.training = TrainingSettings(every_weeks=4, max_psi=None)
    write_drift(warehouse, "2024-03-12", 0.9)
    assert due(models, warehouse, settings) == WEEKS[3:]


def test_the_plan_of_run_has_the_reasons(
    models: ModelStore, warehouse: Warehouse, settings: Settings
) -> None:
    settings.training = TrainingSettings(every_weeks=4)
    churn = {"churn": trainings()["churn"]}
    assert training_due(WEEKS[:3], churn, warehouse, models, settings) == {}
    write_drift(warehouse, "2024-03-05", 0.4)
    planned = training_due(WEEKS[:3], churn, warehouse, models, settings)
    assert list(planned) == WEEKS[:1] and "PSI 0.40" in planned[WEEKS[0]]["churn"]


@pytest.mark.parametrize("every_weeks", [1, 4])
def test_changed_code_and_settings_train(
    models: ModelStore, warehouse: Warehouse, settings: Settings, every_weeks: int
) -> None:
    churn = trainings()["churn"]
    settings.training = TrainingSettings(every_weeks=every_weeks)
    rows = data_version(warehouse, TRAINED, churn.tables, churn.history_days(settings))
    inputs = TrainingInputs.of(churn, settings)
    code, read = inputs.code, dict(inputs.settings)
    week = dt.date(2024, 2, 26) if every_weeks == 1 else WEEKS[0]

    def reason() -> str | None:
        due = training_due([week], {"churn": churn}, warehouse, models, settings)
        return due.get(week, {}).get("churn")

    def trained(**values: Any) -> None:
        [decision] = models.decisions("churn")
        models.decide(decision.model_copy(update={"data_version": rows, **values}))

    # Of a training of an earlier version of the platform nothing is known.
    trained()
    assert reason() is None
    trained(code=code, settings=read)
    assert reason() is None
    trained(code="another", settings=read)
    assert reason() == "its code has changed since it was trained"
    trained(code=code, settings={**read, "churn.horizon_days": 14})
    assert reason() == "setting churn.horizon_days is 28, was 14"
    # A setting that is new with this version counts only where it is not the default.
    known = {name: value for name, value in read.items() if name != "churn.active_days"}
    trained(code=code, settings=known)
    assert reason() is None
    settings.churn.active_days = 99
    assert "setting churn.active_days is 99" in str(reason())


def test_models_that_would_grow_too_old_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCH_PREDICTIONS_TRAINING__EVERY_WEEKS", "8")
    with pytest.raises(SettingsError, match=r"55 days old.*max_age_days = 35"):
        Settings.load(tmp_path)
    monkeypatch.setenv("BATCH_PREDICTIONS_RECOMMENDER__MAX_AGE_DAYS", "60")
    assert Settings.load(tmp_path).training.every_weeks == 8
