"""Models are kept as long as a day needs them: predictions, a roll-back, a release."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

import pytest

from batch_predictions.models.model_store import Decision, ModelStore, Verdict
from batch_predictions.operations.retention.model_retention import remove_old_models
from batch_predictions.settings import RetentionSettings, Settings
from batch_predictions.tables import CHURN_SCORES
from batch_predictions.warehouse import Warehouse

SUNDAYS = [dt.date(2024, 3, 3) + dt.timedelta(days=7 * week) for week in range(6)]


class Models:
    """A store with a version of every week, of which a test says which ones serve."""

    def __init__(self, settings: Settings, warehouse: Warehouse) -> None:
        self.settings, self.warehouse = settings, warehouse
        self.store = ModelStore.of(settings)
        self.versions = [self.train(sunday) for sunday in SUNDAYS]

    def train(self, sunday: dt.date) -> str:
        def write(folder: Path) -> None:
            (folder / "weights.txt").write_text(str(sunday), encoding="utf-8")

        options = {"candidate": "logistic", "parameters": {}, "data_version": "rows"}
        return self.store.save("churn", sunday, write, **options).version  # type: ignore[arg-type]

    def decide(
        self, week: int, version: int, decision: Verdict = "promoted", days: int = 0
    ) -> None:
        self.store.decide(
            Decision(
                model="churn",
                version=self.versions[version],
                effective_from=SUNDAYS[week] + dt.timedelta(days=days),
                decision=decision,
                why="",
            )
        )

    def predict(self, day: dt.date) -> None:
        folder = self.warehouse.folder / CHURN_SCORES.schema / CHURN_SCORES.name / f"date={day}"
        folder.mkdir(parents=True)
        (folder / "data.parquet").touch()

    def remove(self, trainings: int = 1, prediction_days: int | None = 120) -> list[int]:
        """Removes what is not kept; the weeks whose versions are left."""
        retention = RetentionSettings(trainings=trainings, prediction_days=prediction_days)
        settings = self.settings.model_copy(update={"retention": retention})
        removed = remove_old_models(self.store, self.warehouse, settings, ())
        left = self.left()
        assert sorted(removed) == sorted(
            version for week, version in enumerate(self.versions) if week not in left
        )
        return left

    def left(self) -> list[int]:
        stored = self.store.versions("churn")
        return [week for week, version in enumerate(self.versions) if version in stored]

    def champions(self) -> Mapping[int, str]:
        """The champion of every week that has one."""
        decided = {}
        for week, sunday in enumerate(SUNDAYS):
            by_then = [d for d in self.store.decisions("churn") if d.effective_from <= sunday]
            if by_then:
                decided[week] = by_then[-1].version
        return decided


@pytest.fixture
def models(settings: Settings, warehouse: Warehouse) -> Models:
    return Models(settings, warehouse)


def test_models_that_never_served_are_removed_after_the_newest_trainings(models: Models) -> None:
    models.decide(0, 0)
    assert models.remove(trainings=2, prediction_days=None) == [0, 4, 5]
    again = models.store.manifest("churn", models.versions[0])
    assert again.version == models.versions[0]
    assert not list((models.settings.home / "models" / "churn").glob(".removed-*"))
    # A version whose folder was removed can be stored again.
    assert models.train(SUNDAYS[1]) == models.versions[1]


def test_models_of_days_without_predictions_are_removed_but_for_a_roll_back(
    models: Models,
) -> None:
    for week in range(6):
        models.decide(week, week)
    models.predict(SUNDAYS[3] + dt.timedelta(days=2))
    before = models.champions()
    assert models.remove() == [2, 3, 4, 5], "2 served before 3, and a roll-back would name it"
    assert models.champions() == {week: before[week] for week in (2, 3, 4, 5)}
    assert models.store.roll_back("churn", SUNDAYS[3], None, "test").version == models.versions[2]


def test_all_models_that_served_stay_where_all_predictions_do(models: Models) -> None:
    for week in range(5):
        models.decide(week, week)
    models.predict(SUNDAYS[4])
    assert models.remove(prediction_days=None) == [0, 1, 2, 3, 4, 5]
    (models.warehouse.folder / CHURN_SCORES.schema).rename(models.warehouse.folder / "elsewhere")
    assert models.remove() == [0, 1, 2, 3, 4, 5], "without predictions nothing is known to be old"


def test_a_model_that_serves_again_keeps_all_its_decisions(models: Models) -> None:
    """Whether a champion was promoted says whether the next training compares with it."""
    models.decide(0, 0)
    models.decide(1, 1)
    models.decide(2, 1, "kept")
    models.decide(2, 0, "rolled_back", days=3)
    models.decide(3, 0, "kept")
    models.decide(4, 0, "kept")
    models.predict(SUNDAYS[5])
    assert models.remove() == [0, 1, 5]
    decisions = [(d.effective_from, d.decision) for d in models.store.decisions("churn")]
    assert (SUNDAYS[0], "promoted") in decisions and len(decisions) == 6


def test_no_decision_between_others_is_removed(models: Models) -> None:
    """Else a day between would get the champion before, and nothing would say so."""
    models.decide(0, 0)
    models.decide(1, 1)
    models.decide(2, 2)
    models.decide(3, 0, "rolled_back", days=-3)
    models.decide(3, 3)
    models.predict(SUNDAYS[4])
    before = models.champions()
    assert models.remove() == [0, 1, 2, 3, 5], "a roll-back would name 0, which was promoted first"
    assert models.champions() == before
