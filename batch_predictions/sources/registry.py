"""Finds the adapter that settings name, and fixes on a home's first run what it begins with."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from batch_predictions.discovery import subclasses
from batch_predictions.home import HomeError, State, read_state, write_state
from batch_predictions.settings import Settings, SourceSettings
from batch_predictions.sources.base import Source, SourceError


def adapters() -> dict[str, type[Source]]:
    """Every adapter by its `kind`: those of `sources/adapters`, and of plugins."""
    return {adapter.kind: adapter for adapter in subclasses(Source, "sources/adapters/*.py")}


def kinds() -> list[str]:
    """What `source.kind` may be."""
    return sorted(adapters())


def source_of(settings: SourceSettings, state: State | None) -> Source:
    """The adapter that `source.kind` names.

    Raises:
        SourceError: there is no such adapter, or its source is not there.
    """
    adapter = adapters().get(settings.kind)
    if adapter is None:
        raise SourceError(
            f"source.kind {settings.kind!r} does not exist: there are {', '.join(kinds())}; "
            "an adapter of your own is a subclass of Source in a module of the setting plugins"
        )
    return adapter(settings, state)


def excludes_seen(settings: Settings) -> bool:
    """Whether lists leave out what a user already had: as set, else as suits the adapter."""
    chosen = settings.recommendations.exclude_seen
    if chosen is not None:
        return chosen
    return not source_of(settings.source, read_state(settings.home)).repeats


def item_attributes(settings: Settings) -> tuple[str, ...]:
    """Attributes of raw.items that tell items apart, as the adapter names them."""
    return source_of(settings.source, read_state(settings.home)).item_attributes


def today(timezone: str) -> dt.date:
    """The date in a time zone now: the only clock of the sources, read outside assets."""
    return dt.datetime.now(ZoneInfo(timezone)).date()


def initialise_home(settings: Settings, today_: dt.date | None = None) -> State:
    """The home's state, fixed now where this is its first run.

    Raises:
        HomeError: the home was begun with another source, time zone or calendar.
        SourceError: the source is not there.
    """
    state = read_state(settings.home)
    if state is not None:
        _refuse_another(settings, state)
        return state
    source = source_of(settings.source, None)
    source.tables()
    span = source.span(today_ or today(source.timezone))
    state = State(
        source_kind=source.kind,
        timezone=source.timezone,
        first_day=span.first_day,
        last_day=span.last_day,
        default_date=span.default_date,
        shift_days=span.shift_days,
    )
    held = write_state(settings.home, state)
    _refuse_another(settings, held)
    return held


def _refuse_another(settings: Settings, state: State) -> None:
    chosen = settings.source
    if chosen.kind != state.source_kind:
        wanted, begun = f"source.kind {chosen.kind}", state.source_kind
    elif chosen.timezone and chosen.timezone != state.timezone:
        wanted, begun = f"source.timezone {chosen.timezone}", state.timezone
    elif chosen.original_dates and state.shift_days:
        wanted, begun = "source.original_dates", "replayed dates"
    else:
        return
    raise HomeError(
        f"{settings.home} was begun with {begun}, and settings now say {wanted}: use another "
        "--home for it, or take the setting back"
    )
