"""Processes that are killed before one of their operations, such as the opening of a file."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "sqlite3.connect", "shutil.copyfile"}
"""Events of Python's audit hooks, of `open` those that may write; and commits of a database."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def kill_at(number: int, function: Callable[..., object], *arguments: Any) -> bool:
    """Whether a process that runs a function was killed before its n-th operation.

    It is a fork: it has imported all modules already.
    """
    process = os.fork()
    if process == 0:
        try:
            _run_until(number, function, *arguments)
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


def _run_until(number: int, function: Callable[..., object], *arguments: Any) -> None:
    seen = itertools.count(1)
    is_armed = True

    def die() -> None:
        if is_armed and next(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_event(event: str, arguments: tuple[Any, ...]) -> None:
        if event in OPERATIONS and (event != "open" or arguments[2] & _WRITES):
            die()

    sys.addaudithook(on_event)
    sa.event.listen(sa.engine.Engine, "commit", lambda _: die())
    function(*arguments)
    is_armed = False
