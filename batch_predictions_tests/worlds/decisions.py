"""Decisions about models that were never trained."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from batch_predictions.models.model_store import Decision, ModelStore, Verdict


def decide(models: ModelStore, model: str, day: dt.date, decision: Verdict = "promoted") -> None:
    """Stores a model, whose file holds its name, and a decision that it serves from a day on."""

    def write(folder: Path) -> None:
        (folder / "model.txt").write_text(model)

    manifest = models.save(
        model,
        day,
        write,
        candidate="a",
        parameters={},
        data_version="",
    )
    models.decide(
        Decision(
            model=model,
            version=manifest.version,
            effective_from=day,
            decision=decision,
            why="for a test",
        )
    )
