"""What is left of processes that are killed before one of their operations on files."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
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
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


def _run_until(number: int, function: Callable[..., object], *arguments: Any) -> None:
    seen = itertools.count(1)

    def die() -> None:
        if next(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    with _before_operations(die):
        function(*arguments)


def states_of(
    folder: Path, copies: Path, function: Callable[..., object], *arguments: Any
) -> list[Path]:
    """Copies of a folder as a process would leave it that is killed while it runs a function.

    The copies are made before each of its operations: what a killed process has written is with the
    operating system, and so is in a copy. Equal states are kept once. It takes one run of the
    function, where `kill_at` takes one for each operation.

    Args:
        folder: what the function writes to.
        copies: where copies are made; it does not exist.
        function: runs in this process.
        arguments: of the function.
    """
    states: list[Path] = []
    newest: dict[str, bytes] = {}

    def copy() -> None:
        content = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        if content != newest:
            newest.clear()
            newest.update(content)
            states.append(copies / f"{len(states)}")
            shutil.copytree(folder, states[-1])

    with _before_operations(copy):
        function(*arguments)
    return states


@contextmanager
def _before_operations(call: Callable[[], None]) -> Iterator[None]:
    """Calls a function before each operation in the context, but for those of the function."""
    is_armed = True

    def on_operation(*_: object) -> None:
        nonlocal is_armed
        if is_armed:
            is_armed = False
            call()
            is_armed = True

    def on_event(event: str, arguments: tuple[Any, ...]) -> None:
        if event in OPERATIONS and (event != "open" or arguments[2] & _WRITES):
            on_operation()

    # An audit hook stays as long as the process.
    sys.addaudithook(on_event)
    sa.event.listen(sa.engine.Engine, "commit", on_operation)
    try:
        yield
    finally:
        is_armed = False
        sa.event.remove(sa.engine.Engine, "commit", on_operation)
