"""The weekly training of a predictive query."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch_predictions.features.history.event_measures import HISTORY_DAYS, reads_reviews
from batch_predictions.features.history.history_sql import History, history_keys
from batch_predictions.models.queries.candidate_trainer import Progress
from batch_predictions.models.queries.query_examples import (
    FIT_DAYS,
    event_types_in,
    first_event_day,
    history_of,
    max_entities,
    read_examples,
)
from batch_predictions.models.queries.query_metrics import gate_metric
from batch_predictions.models.queries.query_selection import (
    QuerySelection,
    select_query_model,
    untrained,
)
from batch_predictions.models.training import Trained, Training
from batch_predictions.settings import Settings
from batch_predictions.settings.predictive_query import PredictiveQuery
from batch_predictions.tables import (
    CAMPAIGN_EVENTS,
    INTERACTIONS,
    ITEMS,
    PROMOTION_CALENDAR,
    REVIEWS,
    USERS,
    Table,
)
from batch_predictions.warehouse import Warehouse

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEED = 7
QUERY = "query"
"""Parameter of a model with the query that it was trained for."""


def train_query(
    warehouse: Warehouse,
    settings: Settings,
    query: PredictiveQuery,
    through: dt.date,
    progress: Progress = lambda text: None,
    *,
    refit: bool = True,
    history: History | None = None,
) -> QuerySelection:
    """Compares candidates and baselines of a query on past days of a home and fits the winner.

    Args:
        warehouse: with the raw tables.
        settings: of the home.
        query: what is predicted.
        through: last day whose events are known.
        progress: receives log lines.
        refit: see `select_query_model`.
        history: the features; None: those of every query.
    """
    history = history or history_of(settings, (query,))
    first = first_event_day(warehouse, query, through)
    if first is None:
        types = ", ".join(event_types_in(warehouse, through)) or "none"
        return untrained(
            query,
            f"no model was trained: there are no events {query.of!r}"
            f"{f' where {query.where}' if query.where else ''}; types of events: {types} "
            "(rows of a source without types are of the type interaction)",
        )
    limit = max_entities(warehouse, query, through)
    return select_query_model(
        query,
        history,
        lambda day: read_examples(warehouse, query, history, day, limit),
        first,
        through,
        SEED,
        progress,
        refit=refit,
    )


@dataclass(frozen=True)
class QueryTrainer:
    """The function of a query's training, which `Training.train` calls.

    Attributes:
        query: what is predicted.
    """

    query: PredictiveQuery

    def __call__(
        self,
        warehouse: Warehouse,
        settings: Settings,
        through: dt.date,
        progress: Callable[[str], None],
    ) -> Trained:
        """Trains on rows through a day."""
        selection = train_query(warehouse, settings, self.query, through, progress)
        return trained_of(selection, {QUERY: self.query.model_dump(mode="json")})


def trained_of(selection: QuerySelection, parameters: Mapping[str, Any]) -> Trained:
    """The result of a training.

    Args:
        selection: the selected model.
        parameters: JSON values that it was trained with.
    """
    model = selection.model
    metric, lower_is_better = gate_metric(model.query, is_never_negative=model.floor is not None)
    return Trained(
        write=model.save,
        candidate=selection.candidate,
        beats_baseline=selection.beats_baseline,
        parameters=dict(parameters),
        why=selection.why,
        metrics=[dict(row) for row in selection.metrics],
        plotted=metric,
        lower_is_better=lower_is_better,
        figures={"calibration": lambda: _plot(selection)},
    )


def _plot(selection: QuerySelection) -> Figure | None:
    from batch_predictions.models.queries.query_plots import plot_calibration_of_query

    return plot_calibration_of_query(selection)


def event_tables(query: PredictiveQuery) -> tuple[Table, ...]:
    """Raw tables of the events that a query's features and labels are made from."""
    tables = (INTERACTIONS, CAMPAIGN_EVENTS)
    return (*tables, REVIEWS) if reads_reviews(query) else tables


def days_read(query: PredictiveQuery) -> int:
    """Number of days of events that a training reads at most, its last day included."""
    return HISTORY_DAYS + 3 * (query.starts_in + query.days) + 14 * FIT_DAYS


def query_training(query: PredictiveQuery) -> Training:
    """The declaration of a query's weekly training."""
    days = days_read(query)
    planned = (PROMOTION_CALENDAR,) if "item_id" in history_keys(query) else ()
    return Training(
        query.name,
        f"Predicts {query.question}.",
        QueryTrainer(query),
        tables=event_tables(query),
        extra_tables=(ITEMS, USERS, *planned),
        kinds=frozenset({"python", "lightgbm"}),
        history_days=lambda settings: days,
        inputs={f"predictions.{query.name}": query.question},
    )
