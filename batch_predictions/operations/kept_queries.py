"""Predictive queries that the settings no longer declare, and the day until which they are kept.

A query may be gone by mistake: `<home>/removed_queries.json` has the day on which it was missed
first. Until `retention.removed_query_days` after it, a query of its name goes on with its rows and
models.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

from batch_predictions.core.home_bucket import refresh
from batch_predictions.models.model_store import ModelStore
from batch_predictions.models.queries.query_training import QUERY
from batch_predictions.planning.declarations import queries_of
from batch_predictions.settings import Settings
from batch_predictions.settings.predictive_query import PredictiveQuery

FILE_NAME = "removed_queries.json"


def kept_queries(settings: Settings, today: dt.date) -> dict[str, dt.date]:
    """The queries that nobody declares any more, and the day from which they are removed.

    Args:
        settings: of the home, whose plugins are loaded.
        today: the day on which a query is missed that was declared so far.
    """
    missed = read_missed(settings.home)
    days = dt.timedelta(days=settings.retention.removed_query_days)
    return {name: missed.get(name, today) + days for name in undeclared_queries(settings)}


def undeclared_queries(settings: Settings) -> dict[str, PredictiveQuery]:
    """The queries that a home has models of, in their newest form, and that nobody declares."""
    models, declared = ModelStore.of(settings), {query.name for query in queries_of(settings)}
    stored = {name: stored_queries(models, name) for name in models.models()}
    return {n: queries[-1] for n, queries in stored.items() if queries and n not in declared}


def stored_queries(models: ModelStore, name: str) -> list[PredictiveQuery]:
    """The queries that the versions of a model were trained for; empty for other models."""
    parameters = (models.manifest(name, v).parameters.get(QUERY) for v in models.versions(name))
    return [PredictiveQuery(**values) for values in parameters if values]


def read_missed(home: Path) -> dict[str, dt.date]:
    """The days on which undeclared queries were missed first, by name."""
    refresh(home / FILE_NAME)
    try:
        missed = json.loads((home / FILE_NAME).read_text(encoding="utf-8"))
        return {name: dt.date.fromisoformat(day) for name, day in missed.items()}
    except (OSError, ValueError):
        # Missed from today on: they are kept for longer.
        return {}
