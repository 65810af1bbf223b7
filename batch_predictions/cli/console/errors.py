"""Turns an error that ends a command into one line on the standard error and an exit code.

| code | kind |
| --- | --- |
| 1 | the work failed: nothing was released, the source, a step; or `run` asks about lost rows |
| 2 | settings or arguments are wrong |
| 3 | another process uses the home: try again later |
| 4 | a file of the home is damaged: `batch-predictions doctor` names it |
| 5 | the machine: a full disk, missing permissions, a database that does not answer |
| 6 | a part of a run failed, such as a table, a model or a sink; the rest was made and released |
| 7 | `erase-user` found nobody; the id is recorded, and later rows of it are refused |
| 130 | stopped by SIGINT (Ctrl-C) |
| 143 | stopped by SIGTERM |

Errors of other kinds are faults of the program, whose traceback is shown.
"""

from __future__ import annotations

import errno
import sqlite3
import sys
import traceback
from collections.abc import Iterator
from typing import Any, NamedTuple

from batch_predictions.core.durability import DISK_ERRORS, is_about_full_disk
from batch_predictions.settings import SettingsError

FAILED, WRONG_SETTINGS, BUSY, DAMAGED, MACHINE, INCOMPLETE, NOBODY_FOUND = 1, 2, 3, 4, 5, 6, 7

EXPECTED_ERRORS = {
    "RunError",
    "ReleaseError",
    "SourceError",
    "ModelError",
    "StoreError",
    "PostedRowsError",
    "WarehouseError",
    "BackupError",
    "BacktestError",
    "DatabaseUrlError",
}
"""Errors whose message says what to do, by name, so that their modules need not be imported."""

_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)


class Ending(NamedTuple):
    """The message and the exit code with which a command ends.

    Attributes:
        message: one line.
        code: the exit code.
    """

    message: str
    code: int


def describe_error(error: BaseException) -> Ending | None:
    """The line and the exit code of an expected error; None for a fault of the program."""
    ending = _describe(error)
    return ending and ending._replace(message=" ".join(ending.message.split()))


def _describe(error: BaseException) -> Ending | None:
    from batch_predictions.core.home_lock import HomeBusyError

    for cause in _chain(error):
        if isinstance(cause, OSError) and (ending := _of_machine(cause)):
            return ending
        if is_about_full_disk(str(cause)):
            return _of_full_disk(str(error).splitlines()[0])
    if isinstance(error, SettingsError):
        return Ending(str(error), WRONG_SETTINGS)
    if isinstance(error, HomeBusyError):
        return Ending(str(error), BUSY)
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"IngestLogError", "StateFileError"}:
        return Ending(str(error), DAMAGED)
    if names & {"StoreUnreachableError", "PostedRowsUnreachableError"}:
        return Ending(str(error), MACHINE)
    if names & {*EXPECTED_ERRORS, "HomeError"}:
        return Ending(_with_doctor(str(error)), FAILED)
    for describe in (_of_missing_package, _of_database, _of_duckdb, _of_file):
        if ending := describe(error):
            return ending
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes; not what was handled when it was raised, for it says what to do."""
    while error is not None:
        yield error
        error = error.__cause__


def _of_machine(error: OSError) -> Ending | None:
    """A full disk, missing permissions, or a file in place of a folder."""
    path = error.filename or "a file"
    if error.errno in DISK_ERRORS:
        return _of_full_disk(f"{error.filename or error}")
    if error.errno in _PERMISSION:
        return Ending(
            f"{path} cannot be written or read ({error.strerror}): run as the owner of the home, "
            "or see execution.file_mode",
            MACHINE,
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return Ending(
            f"{path} is not what it should be ({error.strerror}): a folder of the home is a file, "
            "or the other way round; move it away, or choose another --home",
            MACHINE,
        )
    return None


def _of_full_disk(what: str) -> Ending:
    """A full disk, and the file or the work that needs space."""
    return Ending(
        f"the disk is full ({what}): free space, and run the command again; finished work is kept",
        MACHINE,
    )


def _of_database(error: BaseException) -> Ending | None:
    """An error of the serving store's database, without statement, parameters and password."""
    cause: BaseException = error
    sqlalchemy: Any = sys.modules.get("sqlalchemy")
    if sqlalchemy is not None and isinstance(error, sqlalchemy.exc.DBAPIError):
        cause = error.orig if error.orig is not None else error
    elif not isinstance(error, sqlite3.Error):
        return None
    reason = str(cause).splitlines()[0]
    is_file = isinstance(cause, sqlite3.Error)
    if is_file and _is_of_dagster(error):
        store = "the folder dagster/ of the home"
        remedy = "move it away, and the history of runs begins again"
    else:
        store = "the serving store (serving.url)"
        remedy = (
            "`batch-predictions doctor` names it, and `doctor --repair` moves serving.sqlite "
            "aside, so that the next run publishes again"
        )
    if is_file and _is_damage(reason):
        return Ending(f"an SQLite file of {store} is damaged ({reason}): {remedy}", DAMAGED)
    if is_file:
        return Ending(
            f"an SQLite file of {store} cannot be used ({reason}): free space if its disk is full, "
            "and run the command again",
            MACHINE,
        )
    return Ending(
        f"{store} cannot be used ({reason}): correct the setting, or wait until the database "
        "answers, and run the command again",
        MACHINE,
    )


def _is_of_dagster(error: BaseException) -> bool:
    """Returns whether an error of a database was raised for Dagster's records, not for a release.

    Neither the error nor SQLAlchemy's has the file, so that its callers have to tell.
    """
    frames = [
        frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    callers = [name for name in frames if name.startswith(("dagster.", "batch_predictions."))]
    return bool(callers) and callers[-1].startswith(
        ("dagster.", "batch_predictions.orchestration.")
    )


def _of_duckdb(error: BaseException) -> Ending | None:
    """An error of DuckDB: a file that cannot be read."""
    duckdb: Any = sys.modules.get("duckdb")
    if duckdb is None or not isinstance(error, duckdb.Error):
        return None
    reason = str(error).splitlines()[0]
    return Ending(f"{reason}: `batch-predictions doctor` finds damaged files", DAMAGED)


def _of_missing_package(error: BaseException) -> Ending | None:
    """A command of the platform where only batch-predictions-lookup is installed."""
    from importlib.metadata import packages_distributions

    if not isinstance(error, ModuleNotFoundError):
        return None
    if packages_distributions().get("batch_predictions") != ["batch-predictions-lookup"]:
        return None
    return Ending(
        f"{error.name} is not installed: batch-predictions-lookup has `lookup` and `serve` alone; "
        "install batch-predictions in an environment of its own for all commands",
        MACHINE,
    )


def _of_file(error: BaseException) -> Ending | None:
    """A file of the home that cannot be parsed."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if not names & {"JSONDecodeError", "YAMLError", "UnicodeDecodeError", "ArrowInvalid"}:
        return None
    reason = str(error).splitlines()[0]
    return Ending(
        f"a file of the home cannot be read ({reason}): `batch-predictions doctor` finds damaged "
        "files",
        DAMAGED,
    )


def _is_damage(reason: str) -> bool:
    return any(word in reason for word in ("malformed", "not a database", "corrupt"))


def _with_doctor(message: str) -> str:
    """A message about a file that cannot be read, with the command that finds it."""
    words = ("data.parquet", "decompress", "Parquet", "Thrift", "not a database", "malformed")
    if any(word in message for word in words) and "batch-predictions" not in message:
        return f"{message}: `batch-predictions doctor` finds damaged files"
    return message
