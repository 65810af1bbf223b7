"""SIGINT (Ctrl-C) and SIGTERM, which stop a command at any moment.

The first signal raises `Stopped` in the main thread. Libraries may keep it from there: Dagster has
handlers of its own while it executes a run, and DuckDB raises another error. So the operating
system's note of a signal counts, which no handler can lose: whoever goes on to other work calls
`raise_if_stopped` before. Another signal ends the process at once.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAME_SECONDS = 1.0
"""Signals this soon after the first are the same wish: `timeout` sends one to the process, and one
to its group."""
GOES_ON = "finished work is kept, and the same command goes on from there"
_MAX_NOTES = 4096
_notes: socket.socket | None = None
"""Receives a byte for every signal, which stays there; None: this process has no such handlers."""
_is_stopping = False
"""Whether `Stopped` was raised, and what it has to close is being closed."""


class Stopped(BaseException):
    """A signal has stopped this process."""


def handle_signals() -> None:
    """Lets SIGINT and SIGTERM stop this process; called in its main thread."""
    global _notes
    _notes, noting = socket.socketpair()
    noting.setblocking(False)
    signal.set_wakeup_fd(noting.detach(), warn_on_full_buffer=False)
    for number in SIGNALS:
        # Also SIGINT, which shells have background processes ignore.
        signal.signal(number, _stop)
    sys.unraisablehook = _report_unraisable
    threading.Thread(target=_end_at_second, name="signals", daemon=True).start()


def stop_signal() -> signal.Signals | None:
    """The signal that has stopped this process; None: there was none."""
    return next(iter(_received()), None)


def raise_if_stopped() -> None:
    """Ends work that has outlived a signal.

    Raises:
        Stopped: this process has received a signal.
    """
    if number := stop_signal():
        _raise(number)


def stop_with_parent() -> None:
    """Stops this process when its standard input ends: the process that held it open is gone."""

    def wait_for_end() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait_for_end, name="parent", daemon=True).start()


def ignore_signals() -> None:
    """Lets the end of the process go on when a first signal comes; another still ends it."""
    if _notes is not None:
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)


def _stop(number: int, _frame: FrameType | None) -> None:
    if not _is_stopping:
        _raise(signal.Signals(number))


def _raise(number: signal.Signals) -> NoReturn:
    global _is_stopping
    _is_stopping = True
    raise Stopped(number.name)


def _report_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Reports an error in a finalizer, which nobody can handle, unless a signal has raised it."""
    if isinstance(unraisable.exc_value, Exception) or not _received():
        sys.__unraisablehook__(unraisable)


def _received() -> list[signal.Signals]:
    if _notes is None:
        return []
    try:
        numbers = _notes.recv(_MAX_NOTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return []
    return [signal.Signals(number) for number in numbers if number in SIGNALS]


def _end_at_second() -> None:
    """Ends the process, with those of its steps, when another signal comes after the first."""
    assert _notes is not None
    while not _received():
        _notes.recv(1, socket.MSG_PEEK)
        time.sleep(SAME_SECONDS)
    first = _received()
    while len(_received()) == len(first):
        time.sleep(SAME_SECONDS / 10)
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None:
        for process in multiprocessing.active_children():
            process.kill()
    os.write(2, f"batch-predictions: ended at once by another signal; {GOES_ON}\n".encode())
    os._exit(128 + first[0])
