"""Everything that a home declares: the modules of its plugins, and its predictive queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batch_predictions.settings import Settings, SettingsError
from batch_predictions.settings.predictive_query import PredictiveQuery
from batch_predictions.tables import TABLES
from batch_predictions.tables.discovery import declare_of_settings, instances, load_plugins

_NAMES_OF_STORE = ("releases", "current_release")
"""Tables of the serving store that are no tables of the warehouse."""


def load_declarations(settings: Settings) -> None:
    """Imports the plugins of a home, and declares what its predictive queries need.

    Raises:
        SettingsError: a plugin cannot be imported, or a query names a column or a table wrongly.
    """
    load_plugins(settings.plugins)
    declare_of_settings(())
    queries = queries_of(settings)
    if queries:
        _require_free_names(settings, queries)
        declare_of_settings(list(_declarations(settings, queries)))


def queries_of(settings: Settings) -> tuple[PredictiveQuery, ...]:
    """The predictive queries of the settings, then those of the plugins that are loaded.

    Raises:
        SettingsError: two have one name, or one of a plugin has none.
    """
    queries = (*settings.predictions.values(), *instances(PredictiveQuery, "no_module"))
    names = [query.name for query in queries]
    for query in queries:
        if not query.name or names.count(query.name) > 1:
            raise SettingsError(
                f"prediction {query.name!r} ({query.question}): give each predictive query a name "
                "of its own, in the settings and in the modules of plugins together"
            )
    return queries


def _require_free_names(settings: Settings, queries: Sequence[PredictiveQuery]) -> None:
    """Refuses names of tables, models, columns and words of SQL."""
    import duckdb

    from batch_predictions.features.history.event_measures import standard_measures
    from batch_predictions.features.history.history_sql import (
        EVENT_COLUMNS,
        ITEM_COLUMNS,
        USER_COLUMNS,
    )
    from batch_predictions.models.training import trainings
    from batch_predictions.sources import source_registry

    with duckdb.connect() as db:
        words = db.sql(
            "from duckdb_keywords() select keyword_name where keyword_category <> 'unreserved'"
        )
        reserved = {name for (name,) in words.fetchall()}
    types = tuple(source_registry.event_types(settings).types)
    columns = {measure.name for measure in standard_measures(types, has_reviews=True)}
    taken = {
        *(*trainings(), *(table.name for table in TABLES.values())),
        *(*columns, *EVENT_COLUMNS, *ITEM_COLUMNS, *USER_COLUMNS, *reserved, *_NAMES_OF_STORE),
    }
    for query in queries:
        if query.name in taken:
            raise SettingsError(
                f"prediction {query.name}: a table, a model, a column or a word of SQL has this "
                f"name: choose another, such as my_{query.name}"
            )


def _declarations(settings: Settings, queries: Sequence[PredictiveQuery]) -> Iterator[object]:
    """Tables, features, trainings, predictions and realized metrics of the queries."""
    from batch_predictions.evaluation.realized_queries import query_metric
    from batch_predictions.features.history.history_tables import group_by_entity, history_table
    from batch_predictions.features.history.query_labels import check_query
    from batch_predictions.models.queries.query_examples import history_of
    from batch_predictions.models.queries.query_training import query_training
    from batch_predictions.predictions.query_predictions import query_prediction

    daily = [query for query in queries if query.cadence == "daily"]
    for group in group_by_entity(daily):
        feature = history_table(history_of(settings, group))
        yield feature
        yield feature.table
    for query in queries:
        history = history_of(settings, (query,))
        check_query(query, history)
        prediction = query_prediction(query, history)
        table = prediction.table
        yield from (query_training(query), prediction, table, query_metric(query, table))
