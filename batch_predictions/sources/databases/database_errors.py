"""Errors of databases as SourceError: what failed, and which setting helps."""

from __future__ import annotations

import re

from batch_predictions.sources.base import SourceError
from batch_predictions.sources.databases.connection import DatabaseUrl

_TIMEOUT = re.compile(
    r"statement timeout|57014|statement_timeout|max_statement_time|maximum statement execution time"
    r"|query execution was interrupted|reached its statement or warehouse timeout",
    re.IGNORECASE,
)
_REFUSED_FOR_GOOD = re.compile(
    r"authentication failed|password|access denied|permission denied|does not exist"
    r"|no pg_hba\.conf entry|role .* is not permitted",
    re.IGNORECASE,
)
_CONNECTION = re.compile(
    r"dial tcp|no such host|failed to connect|could not connect|can't connect"
    r"|connection (to server|refused|reset|timed out|has been closed|was closed|is closed"
    r"|was killed|failure|already closed)"
    r"|closed the connection|terminating connection|lost connection|gone away|broken pipe"
    r"|no connection to the server|timeout expired|timed out|name resolution|database is locked"
    r"|could not receive data|could not send data|ssl (syscall|error)|eof detected|too many clients"
    r"|starting up|shutting down|in recovery mode|SQLSTATE: (08|57P0)",
    re.IGNORECASE,
)


class DatabaseReadError(SourceError):
    """A database cannot be read.

    Attributes:
        is_connection_error: whether the connection failed or broke, so that another try may help.
    """

    def __init__(self, message: str, *, is_connection_error: bool = False) -> None:
        super().__init__(message)
        self.is_connection_error = is_connection_error


def database_error(
    error: BaseException, url: DatabaseUrl, action: str, timeout_seconds: int
) -> DatabaseReadError:
    """The error to raise for an error of a driver, without passwords.

    Raise it outside of the `except` block, so that the driver's error is not part of it.

    Args:
        error: error of a driver.
        url: the database.
        action: what was done, such as "reading shop.order_lines".
        timeout_seconds: `source.statement_timeout_seconds`.
    """
    text = url.hide_secrets(str(error))
    reason = " ".join(text.split())[:500]
    if _TIMEOUT.search(text):
        return DatabaseReadError(
            f"{action} in {url.location} took longer than source.statement_timeout_seconds "
            f"({timeout_seconds} s): raise it, or add an index on the column of the time"
        )
    is_connection_error = bool(_CONNECTION.search(text)) and not _REFUSED_FOR_GOOD.search(text)
    remedy = (
        "check that the database runs and can be reached"
        if is_connection_error
        else "check source.url, source.tables, source.queries, source.where and the user's rights"
    )
    return DatabaseReadError(
        f"{action} in {url.location} failed: {reason}; {remedy}",
        is_connection_error=is_connection_error,
    )
