"""A training begins its search with what the training before it chose."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from batch_predictions.models.model_store import Decision, ModelStore
from batch_predictions.models.recommender.assets import _previous_parameters
from batch_predictions.settings import Settings

CHOSEN = {"als": {"alpha": 40.0, "factors": 64}}


def train(settings: Settings, through: date, parameters: dict[str, object]) -> None:
    def write(folder: Path) -> None:
        (folder / "model.txt").write_text(str(through))

    store = ModelStore.of(settings)
    manifest = store.save(
        "recommender",
        through,
        write,
        candidate="blend",
        parameters=parameters,
        data_version="1",
    )
    store.decide(
        Decision(
            model="recommender",
            version=manifest.version,
            effective_from=through,
            decision="promoted",
            why="a test",
        )
    )


def test_the_newest_training_before_the_day_counts(settings: Settings) -> None:
    assert _previous_parameters(settings, date(2024, 3, 31)) == {}
    train(settings, date(2024, 3, 24), {"generator_params": CHOSEN})
    train(settings, date(2024, 3, 31), {"generator_params": {}})
    # A training that is repeated begins as it did the first time.
    assert _previous_parameters(settings, date(2024, 3, 31)) == CHOSEN
    assert _previous_parameters(settings, date(2024, 3, 24)) == {}
    assert _previous_parameters(settings, date(2024, 4, 7)) == {}


def test_a_version_that_cannot_be_read_is_no_start(settings: Settings) -> None:
    train(settings, date(2024, 3, 24), {"generator_params": CHOSEN})
    (version,) = (settings.home / "models" / "recommender" / "versions").iterdir()
    (version / "manifest.json").write_text("{")
    assert _previous_parameters(settings, date(2024, 3, 31)) == {}
    train(settings, date(2024, 3, 26), {"trained_by": "an older state"})
    assert _previous_parameters(settings, date(2024, 3, 31)) == {}
