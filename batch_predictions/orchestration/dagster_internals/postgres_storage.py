"""Dagster's records of a home in PostgreSQL, in Dagster's own tables.

Dagster's own storages open a connection for every statement. These keep two open, and the event log
records no repetitions and no passwords. Without it Dagster's own are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from dagster import EventLogEntry
from dagster._serdes import ConfigurableClassData
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage import PostgresScheduleStorage
from dagster_postgres.utils import pg_url_from_config
from sqlalchemy import Engine, create_engine

from batch_predictions.orchestration.dagster_internals.recorded_events import HomeEvents

KEPT_CONNECTIONS, MAX_FURTHER_CONNECTIONS = 2, 20
"""Some reads begin within a transaction, hence two. Further ones, of threads that read at the same
time, as those of the daemon, are closed after use."""


class _KeptConnections:
    """A mix-in of Dagster's PostgreSQL storages that keeps their connections open."""

    _engine: Engine

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self._engine = _keep_connections(self._engine)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, object]
    ) -> Self:
        """Makes the storage from its configuration in dagster.yaml."""
        options = {}
        if config_value.get("auth_provider") is not None:
            # Versions of dagster-postgres that know the key have the function.
            from dagster_postgres.utils import get_token_provider_from_config

            options["token_provider"] = get_token_provider_from_config(config_value)
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data,
            **options,
        )

    def dispose(self) -> None:
        """Closes all database connections."""
        super().dispose()  # type: ignore[misc]
        self._engine.dispose()


def _keep_connections(engine: Engine) -> Engine:
    """An engine that opens connections as another one does, and keeps them."""

    def connect() -> Any:
        connection = engine.raw_connection()
        opened = connection.driver_connection
        connection.detach()
        return opened

    return create_engine(
        engine.url,
        creator=connect,
        isolation_level="AUTOCOMMIT",
        pool_size=KEPT_CONNECTIONS,
        max_overflow=MAX_FURTHER_CONNECTIONS,
        pool_pre_ping=True,
    )


class HomePostgresEventLogStorage(_KeptConnections, HomeEvents, PostgresEventLogStorage):
    """Dagster's event log of a home in PostgreSQL, without repetitions and passwords."""

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Stores events, those of a range of partitions by one statement."""
        if kept := self.worth_recording(events):
            super().store_event_batch(kept)


class HomePostgresRunStorage(_KeptConnections, PostgresRunStorage):
    """Dagster's runs of a home in PostgreSQL, with connections that stay open."""


class HomePostgresScheduleStorage(_KeptConnections, PostgresScheduleStorage):
    """Dagster's ticks of schedules and sensors in PostgreSQL."""
