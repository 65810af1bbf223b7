"""Finds source adapters by kind, and the source of a home."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

from batch_predictions.core.home import State, read_state
from batch_predictions.settings import Settings, SourceSettings
from batch_predictions.sources.base import Source, SourceError
from batch_predictions.sources.posted_rows.reader import PostedRows
from batch_predictions.sources.validation.event_types import EventTypes, resolve_event_types
from batch_predictions.tables import Table
from batch_predictions.tables.discovery import index_unique, subclasses


def source_classes() -> dict[str, type[Source]]:
    """The adapters by kind, those of `sources/adapters/` and of the setting `plugins`.

    Raises:
        SourceError: an adapter has no kind.
        ValueError: two adapters have the same kind.
    """
    classes: list[type[Source]] = subclasses(Source, "sources/adapters/*.py")
    for source_class in classes:
        if not getattr(source_class, "kind", None):
            raise SourceError(
                f"{source_class.__module__}.{source_class.__qualname__} has no kind: set the class "
                "attribute `kind` to the value of source.kind that selects it"
            )
    return index_unique(classes, "source adapters", "kind")


def source_kinds() -> list[str]:
    """The possible values of `source.kind`."""
    return sorted(source_classes())


def source_of(settings: Settings, state: State | None) -> Source:
    """The source of a home, which may keep files that it derives in the home folder.

    Args:
        settings: settings of the home and the source.
        state: state of the home; None before its first run.

    Raises:
        SourceError: there is no such adapter, or its source does not exist.
    """
    source = build_source(settings.source, state)
    source.home = settings.home
    source.limits = settings.duckdb
    source.posted = PostedRows.of(settings)
    return source


def build_source(settings: SourceSettings, state: State | None) -> Source:
    """The source that `source.kind` names, without a home for files that it derives.

    Args:
        settings: settings of the source.
        state: state of the home; None before its first run.

    Raises:
        SourceError: there is no such adapter, or its source does not exist.
    """
    source_class = source_classes().get(settings.kind)
    if source_class is None:
        raise SourceError(_unknown_kind_message(settings.kind))
    return source_class(settings, state)


def event_types(settings: Settings) -> EventTypes:
    """Types of interactions, with those that bar an item from a user's recommendations.

    Raises:
        SettingsError: `source.events` or `recommendations.exclude_seen` is contradictory.
    """
    source = build_source(settings.source, read_state(settings.home))
    exclude_seen = settings.recommendations.exclude_seen
    if exclude_seen is None:
        exclude_seen = not source.repeat_consumption
    return resolve_event_types(
        settings.source.events,
        source.events,
        returns=settings.source.returns,
        exclude_seen=exclude_seen,
    )


def excludes_seen(settings: Settings) -> bool:
    """Returns whether recommendations leave out items that the user already had."""
    return bool(event_types(settings).seen)


def item_attributes(settings: Settings) -> tuple[str, ...]:
    """Keys of `attributes` of raw.items that recommenders use."""
    return build_source(settings.source, read_state(settings.home)).item_attributes


def has_table(settings: Settings, table: Table) -> bool:
    """Returns whether the source has a raw table; true as well if it cannot be read now."""
    try:
        return table in build_source(settings.source, read_state(settings.home)).tables()
    except SourceError:
        return True


def current_date(timezone: str) -> dt.date:
    """The date in a time zone now. Assets do not call it: their day is their partition."""
    return current_time(timezone).date()


def current_time(timezone: str) -> dt.datetime:
    """The time in a time zone now; see `current_date`."""
    return dt.datetime.now(ZoneInfo(timezone))


def _unknown_kind_message(kind: str) -> str:
    """The error message for a kind that no adapter has, with the remedy."""
    for source_class in _all_subclasses(Source):
        missing = sorted(source_class.__abstractmethods__)
        if getattr(source_class, "kind", None) == kind and missing:
            return (
                f"source.kind {kind!r}: its adapter {source_class.__module__}."
                f"{source_class.__qualname__} does not implement {', '.join(missing)}: see the "
                "docstrings of its base class"
            )
    return (
        f"source.kind {kind!r} does not exist: choose one of {', '.join(source_kinds())}, or name "
        "the module of your adapter, which has a subclass of Source, in the setting plugins"
    )


def _all_subclasses(parent: type[Any]) -> list[type[Any]]:
    children = parent.__subclasses__()
    return [*children, *(c for child in children for c in _all_subclasses(child))]
