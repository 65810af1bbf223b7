"""Opens connections to the database of the settings, with another try after connection errors."""

from __future__ import annotations

import importlib.util
import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from batch_predictions.settings import SourceSettings
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.databases.adbc import ADBC_DRIVERS, AdbcConnection
from batch_predictions.sources.databases.connection import DatabaseConnection, DatabaseUrl
from batch_predictions.sources.databases.database_errors import database_error
from batch_predictions.sources.databases.sqlalchemy_rows import SqlAlchemyConnection

Result = TypeVar("Result")

FIRST_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 30.0

_logger = logging.getLogger(__name__)

# Packages of databases that SQLAlchemy reads, for the message if one is missing.
_PACKAGES = {
    "postgresql": "psycopg[binary]",
    "mysql": "pymysql",
    "mariadb": "pymysql",
    "mssql": "pymssql",
    "oracle": "oracledb",
    "redshift": "sqlalchemy-redshift redshift_connector",
    "databricks": "databricks-sqlalchemy",
    "clickhouse": "clickhouse-sqlalchemy",
    "trino": "trino[sqlalchemy]",
    "snowflake": "snowflake-sqlalchemy",
    "bigquery": "sqlalchemy-bigquery",
}


def read_database(
    url: DatabaseUrl,
    settings: SourceSettings,
    action: str,
    read: Callable[[DatabaseConnection], Result],
) -> Result:
    """Opens a connection, reads from it, and closes it.

    After a connection error all is read again from the beginning, in a new snapshot, up to
    `source.retries` times: `read` must not keep anything of a failed try.

    Args:
        url: the database.
        settings: settings of the source.
        action: what is read, for messages, such as "reading shop.order_lines".
        read: reads from the connection.

    Raises:
        SourceError: the driver is missing, or the database cannot be read.
    """
    connect = choose_connection(url, settings)
    attempt = 0
    while True:
        try:
            connection: DatabaseConnection = connect(url, settings)
            try:
                return read(connection)
            finally:
                _close(connection)
        except SourceError:
            raise
        except Exception as caught:
            if not _is_driver_error(caught):
                raise
            error = database_error(caught, url, action, settings.statement_timeout_seconds)
        if not error.is_connection_error or attempt >= settings.retries:
            # Raised here, so that the driver's error, which may have the password, is not shown.
            raise error
        pause = min(FIRST_PAUSE_SECONDS * 2**attempt, MAX_PAUSE_SECONDS)
        pause *= random.uniform(0.5, 1)  # noqa: S311
        attempt += 1
        _logger.warning(
            "%s; try %s of %s follows in %.1f s", error, attempt + 1, settings.retries + 1, pause
        )
        time.sleep(pause)


def choose_connection(
    url: DatabaseUrl, settings: SourceSettings
) -> type[AdbcConnection] | type[SqlAlchemyConnection]:
    """The class of connections for a URL, by `source.driver` and the installed packages.

    Raises:
        SourceError: the driver is not installed; the message has the command that installs it.
    """
    adbc = ADBC_DRIVERS.get(url.backend)
    names_driver = "+" in url.url.drivername
    if settings.driver == "sqlalchemy" or adbc is None:
        if settings.driver == "adbc":
            raise SourceError(
                f"source.driver is adbc, which does not read {url.backend}: set it to auto"
            )
        _require_sqlalchemy_driver(url)
        return SqlAlchemyConnection
    if importlib.util.find_spec(adbc.module) and importlib.util.find_spec("adbc_driver_manager"):
        return AdbcConnection
    if settings.driver == "auto" and names_driver and _has_sqlalchemy_driver(url):
        return SqlAlchemyConnection
    raise SourceError(
        f"to read {url.backend}, the package {adbc.module.replace('_', '-')} is needed: "
        f"pip install 'batch-predictions[{adbc.extra}]'"
    )


def _require_sqlalchemy_driver(url: DatabaseUrl) -> None:
    if not _has_sqlalchemy_driver(url):
        package = _PACKAGES.get(url.backend, f"the SQLAlchemy dialect of {url.backend}")
        raise SourceError(
            f"to read {url.url.drivername}, a driver for SQLAlchemy is needed: pip install "
            f"{package}, and name it in source.url, such as {url.backend}+DRIVER://…"
        )


def _has_sqlalchemy_driver(url: DatabaseUrl) -> bool:
    from sqlalchemy.exc import NoSuchModuleError

    try:
        url.url.get_dialect().import_dbapi()
    except (ImportError, NoSuchModuleError):
        return False
    return True


def _is_driver_error(error: Exception) -> bool:
    """Returns whether an error comes from a driver; others are faults of the program.

    ADBC's readers raise OSError and errors of Arrow.
    """
    roots = ("adbc_driver_manager", "sqlalchemy", "pyarrow", "psycopg", "sqlite3")
    is_of_driver = any(kind.__module__.split(".")[0] in roots for kind in type(error).__mro__)
    return is_of_driver or (isinstance(error, OSError) and error.errno is None)


def _close(connection: DatabaseConnection) -> None:
    try:
        connection.close()
    except Exception as error:
        # A broken connection cannot be closed; the error of the read matters.
        _logger.debug("closing a connection failed: %s", type(error).__name__)
