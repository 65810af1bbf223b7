"""Brings sinks and exports to the release that is served, and remembers which could not be written.

The folder `serving.release_dir` gets release files; sinks get tables. A destination that cannot be
written changes nothing of the release: it is named until it is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from urllib.parse import urlsplit

from batch_predictions.core.database_url import DatabaseUrlError, parse_database_url
from batch_predictions.core.durability import atomic_write
from batch_predictions.core.erasures import ErasedKeys
from batch_predictions.core.home_bucket import refresh
from batch_predictions.core.object_store import SCHEMES, without_credentials
from batch_predictions.core.read_only import StoreError
from batch_predictions.core.redaction import redact
from batch_predictions.serving.sinks.delta_sink import DeltaSink
from batch_predictions.serving.sinks.parquet_sink import ParquetSink
from batch_predictions.serving.sinks.sink_tables import SinkError, SinkTable, release_tables
from batch_predictions.serving.sinks.sql_sink import DATABASES, SqlSink
from batch_predictions.serving.store.pointer import NoReleaseError, ReleaseError
from batch_predictions.serving.store.snapshot import ReadStore, ServedRelease
from batch_predictions.serving.store.store import store_url
from batch_predictions.settings import Settings, SettingsError, SinkSettings

FILE_NAME = "sinks.json"


class Sink(Protocol):
    """A database or bucket that holds releases."""

    @property
    def settings(self) -> SinkSettings:
        """The settings of this sink."""

    @property
    def location(self) -> str:
        """Where it is, without credentials."""

    def write(self, served: ServedRelease, tables: list[SinkTable], *, force: bool) -> bool:
        """Writes a release, unless it is there. Returns whether it was written."""

    def erase(self, keys: ErasedKeys) -> None:
        """Deletes the rows of users."""

    def remove_old_versions(self) -> None:
        """Removes what earlier writes have left, in which there may be rows of erased users."""


@dataclass(frozen=True)
class SinkResult:
    """The state of a sink, or of the export, after a synchronisation.

    Attributes:
        location: of the sink or export, without credentials.
        release_id: the release that is served; empty: the store cannot be read, or `error`.
        is_new: whether it was written; else it was there already, or `error` says why not.
        error: why it could not be written; None: it has the release.
    """

    location: str
    release_id: str
    is_new: bool
    error: str | None = None


def open_sinks(settings: Settings) -> list[Sink]:
    """Returns the sinks of the settings; connects to none.

    Raises:
        SettingsError: a URL is of no kind that a sink can be of.
    """
    return [_open_sink(sink) for sink in settings.sinks]


def _open_sink(sink: SinkSettings) -> Sink:
    scheme = urlsplit(sink.url).scheme
    if scheme in ("", "file", *SCHEMES):
        return ParquetSink(sink) if sink.format == "parquet" else DeltaSink(sink)
    try:
        url = parse_database_url(sink.url, "sinks.url")
    except DatabaseUrlError as error:
        raise SettingsError(str(error)) from None
    if url.get_backend_name() not in DATABASES:
        raise SettingsError(
            f"sinks.url {without_credentials(sink.url)}: a sink is postgresql://host/database, "
            "snowflake://user@account/database, or a folder or URL of "
            f"{', '.join(f'{name}://' for name in SCHEMES)}"
        )
    return SqlSink(url, sink)


def sync_sinks(settings: Settings, *, force: bool = False) -> list[SinkResult]:
    """Writes the release that is served into the export and every sink that lacks it.

    One that cannot be written stops no other; `status` names it until it is written.

    Args:
        settings: of the home.
        force: whether sinks that have the release are written, too, such as after an erasure.

    Raises:
        SettingsError: a URL is of no kind that a sink can be of.
    """
    results: list[SinkResult] = []
    sinks = open_sinks(settings)
    with ReadStore(store_url(settings)) as store:
        for location, write in _writers(settings, sinks, store, force=force):
            try:
                results.append(write())
            except NoReleaseError:
                return []
            except (ReleaseError, StoreError) as error:
                results.append(SinkResult(location, "", False, str(error)))
            except Exception as error:
                # A driver or a disk: the release is served, whatever a destination does.
                text = f"{location}: {type(error).__name__}: {redact(str(error))}"
                results.append(SinkResult(location, "", False, " ".join(text.split())))
    if results or (settings.home / FILE_NAME).exists():
        refresh(settings.home / FILE_NAME)
        state = {result.location: [result.release_id, result.error] for result in results}
        atomic_write(settings.home / FILE_NAME, json.dumps(state, indent=1))
    return results


def _writers(
    settings: Settings, sinks: Sequence[Sink], store: ReadStore, *, force: bool
) -> Iterator[tuple[str, Callable[[], SinkResult]]]:
    """Yields the location of the export and of each sink, with what writes the release there."""
    if folder := settings.serving.release_dir:
        location = without_credentials(folder)

        def export() -> SinkResult:
            # The client of object stores takes a tenth of a second to load.
            from batch_predictions.serving.release_files.destinations import export_current

            exported = export_current(settings, folder)
            return SinkResult(location, exported.manifest.release_id, exported.is_new)

        yield location, export
    for sink in sinks:
        yield sink.location, partial(_write_sink, sink, store, force=force)


def _write_sink(sink: Sink, store: ReadStore, *, force: bool) -> SinkResult:
    with store.snapshot() as (db, served):
        tables = release_tables(db, served, sink.settings.tables)
        is_new = sink.write(served, tables, force=force)
        return SinkResult(sink.location, served.release_id, is_new)


def outdated_sinks(settings: Settings, release_id: str) -> dict[str, str]:
    """Describes the export and the sinks that do not have a release, by their location.

    Args:
        settings: of the home.
        release_id: the release that is served.
    """
    try:
        state = json.loads((settings.home / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        state = {}
    folder = settings.serving.release_dir
    names = {without_credentials(folder): "the export"} if folder else {}
    names |= {sink.location: "the sink" for sink in open_sinks(settings)}
    problems = {}
    for location, name in names.items():
        written, error = state.get(location, (None, None))
        if error:
            problems[location] = error
        elif written != release_id:
            problems[location] = f"{name} {location} does not have {release_id} yet"
    return problems


def failed_sinks(settings: Settings, release_id: str | None) -> dict[str, str]:
    """Describes the export and the sinks that lack the served release, for a run's summary."""
    if release_id is None:
        return {}
    problems = outdated_sinks(settings, release_id)
    return {f"sink {location}": message for location, message in problems.items()}


def erase_from_sinks(settings: Settings, keys: ErasedKeys) -> int:
    """Deletes users from all sinks, and writes the release again, from which they were erased.

    Readers see a whole release at any time: versions with the users are removed at the end.

    Args:
        settings: of the home, whose serving store has no row of the users any more.
        keys: whose rows are removed.

    Returns:
        The number of sinks.

    Raises:
        SinkError: a sink cannot be written: the erasure stays pending.
    """
    sinks = open_sinks(settings)
    for sink in sinks:
        sink.erase(keys)
    # Deleted rows have left new versions of tables, which the release's record must name.
    failed = [result.error for result in sync_sinks(settings, force=True) if result.error]
    if failed:
        raise SinkError("; ".join(failed))
    for sink in sinks:
        sink.remove_old_versions()
    return len(sinks)
