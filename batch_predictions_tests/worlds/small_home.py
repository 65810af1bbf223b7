"""A home with one of everything that must be whole: partitions, a model, a decision, a release.

As a program it writes one: python -m batch_predictions_tests.worlds.small_home HOME TAG [USERS]
"""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

from batch_predictions.core.home import write_state
from batch_predictions.models.model_store import Decision, ModelStore
from batch_predictions_tests.worlds.home_state import STATE
from batch_predictions_tests.worlds.serving import DAY, ServingWorld, open_world

TRAINED = dt.date(2024, 2, 25)


def write_small_home(home: Path, tag: str, users: int = 3) -> ServingWorld:
    """Writes state, predictions, a model with its decision, and a release.

    Args:
        home: the home folder, which may have all of it already.
        tag: is in the values; another tag gives another model, decision and release.
        users: users with predictions.
    """
    write_state(home, STATE)
    world = open_world(home)
    world.predict(tag=tag, users=users)
    models = ModelStore.of(world.settings)
    manifest = models.save(
        "churn",
        TRAINED,
        lambda folder: write_model(folder, tag),
        candidate="gbm",
        parameters={},
        data_version=tag,
    )
    models.decide(
        Decision(
            model="churn",
            version=manifest.version,
            effective_from=TRAINED,
            decision="promoted",
            why="a test",
        )
    )
    world.publish(DAY)
    return world


def write_model(folder: Path, tag: str) -> None:
    """Writes the files of a model, one of them in a folder of its own."""
    (folder / "trees").mkdir()
    (folder / "trees" / "0.txt").write_text(tag * 100, encoding="utf-8")
    (folder / "names.txt").write_text(tag, encoding="utf-8")


if __name__ == "__main__":
    write_small_home(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
