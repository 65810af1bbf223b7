"""A training of a worker's home is decided anew, by the weeks before it in the backtest's home."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from batch_predictions.models.model_store import Decision, ModelStore
from batch_predictions.models.training import Trained, publish
from batch_predictions.operations.backtest.past_weeks import PastWeeks
from batch_predictions.operations.backtest.trainings_ahead import adopt_trainings
from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse

WEEKS = [dt.date(2024, 3, 3) + dt.timedelta(weeks=n) for n in range(3)]
PASSES = (True, False, True)
METRIC = {"candidate": "trees", "metric": "auc", "value": 0.7, "lower": 0.6, "upper": 0.8, "n": 9}


class Weeks:
    """The homes of a backtest: its own, and those of workers."""

    def __init__(self, home: Path, *workers: Path) -> None:
        self.home, self._workers = home, workers

    @contextmanager
    def as_run(self) -> Iterator[tuple[Settings, Warehouse]]:
        settings = Settings(home=self.home)
        yield settings, Warehouse.of(settings)

    def workers(self) -> list[Path]:
        return [*self._workers]


def train(home: Path, *weeks: int) -> None:
    """Publishes the trainings of some weeks in a home, each with a file of its own."""
    settings = Settings(home=home)
    models, warehouse = ModelStore.of(settings), Warehouse.of(settings)
    for week in weeks:

        def write(folder: Path, week: int = week) -> None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "model.txt").write_text(f"week {week}", encoding="utf-8")

        trained = Trained(
            write=write,
            candidate="trees" if PASSES[week] else "mean",
            beats_baseline=PASSES[week],
            parameters={"week": week},
            why=f"reason {week}",
            metrics=[cast(dict[str, Any], METRIC)],
        )
        publish("churn", trained, WEEKS[week], models, warehouse, f"rows {week}", "code", {"a": 1})


def decisions(home: Path) -> list[Decision]:
    return ModelStore(home=str(home.absolute())).decisions("churn")


def test_decisions_are_those_of_trainings_one_after_another(tmp_path: Path) -> None:
    train(tmp_path / "in_turn", 0, 1, 2)
    # The second week is kept here, and would be a baseline in a home without the first.
    assert [d.decision for d in decisions(tmp_path / "in_turn")] == ["promoted", "kept", "promoted"]
    train(tmp_path / "worker_1", 1)
    train(tmp_path / "worker_2", 0, 2)
    assert [d.decision for d in decisions(tmp_path / "worker_1")] == ["baseline"]
    train(tmp_path / "own", 0)
    weeks = Weeks(tmp_path / "own", tmp_path / "worker_1", tmp_path / "worker_2")
    for sunday in WEEKS[1:]:
        adopt_trainings(cast(PastWeeks, weeks), sunday)
    assert decisions(tmp_path / "own") == decisions(tmp_path / "in_turn")
    query = "from evaluation.model_metrics order by trained_through"
    rows = [
        Warehouse.of(Settings(home=tmp_path / home)).query(query) for home in ("own", "in_turn")
    ]
    assert rows[0].equals(rows[1])
    models = ModelStore(home=str(tmp_path / "own"))
    assert models.version_of("churn", WEEKS[1]) == models.version_of("churn", WEEKS[0])


def test_a_worker_that_kept_a_champion_is_decided_anew(tmp_path: Path) -> None:
    train(tmp_path / "worker", 0, 1)
    assert decisions(tmp_path / "worker")[1].decision == "kept"
    adopt_trainings(cast(PastWeeks, Weeks(tmp_path / "own", tmp_path / "worker")), WEEKS[1])
    [decision] = decisions(tmp_path / "own")
    assert (decision.decision, decision.why) == ("baseline", "reason 1")
