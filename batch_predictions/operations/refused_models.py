"""Models whose newest training was refused by the gate: an older version goes on serving."""

from __future__ import annotations

import datetime as dt

from batch_predictions.models.model_store import ModelStore


def refused_models(models: ModelStore, day: dt.date) -> dict[str, str]:
    """Finds models whose newest training lost to its baselines, and the version that serves.

    A model that was never better than its baselines is not among them: it has nothing to lose.

    Args:
        models: the model store.
        day: later decisions are left out.
    """
    messages = {}
    for name in models.models():
        decisions = models.decisions_by(name, day)
        if decisions and decisions[-1].decision == "kept":
            newest = decisions[-1]
            messages[name] = (
                f"the training of {name} through {newest.effective_from} was refused, and "
                f"{newest.version} goes on serving ({newest.why}): see whether the source's newest "
                "rows are right; a corrected day is trained again by itself"
            )
    return messages
