"""Readers without write access: another Unix user, a read-only mount, a full disk."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534
_READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
_FULL = (
    'mount -t tmpfs -o size="$2" tmpfs "$1" && cp -p "$3"/serving.sqlite* "$1" && '
    '{ dd if=/dev/zero of="$1/filler" bs=4096 2>/dev/null || true; } && shift 3 && exec "$@"'
)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that other users can enter, as pytest's cannot be."""
    umask = os.umask(0o022)
    folder = Path(tempfile.mkdtemp(prefix="batch-predictions-tests-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        os.umask(umask)
        shutil.rmtree(folder)


def as_another_user(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function in a process of the user nobody; an exception is raised here.

    Skips where this process may not become another user.
    """
    if os.getuid() != 0:
        pytest.skip("only root can start a process of another user")
    # A forked process needs no right to read the interpreter and the package.
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_become_nobody, args=(queue, function, arguments))
    process.start()
    result, error = queue.get()
    process.join()
    if error is not None:
        raise error
    return result


def _become_nobody(queue: Any, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
    try:
        os.chdir("/")  # pytest's folder is closed to others
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        queue.put((function(*arguments), None))
    except BaseException as error:  # the test raises it
        queue.put((None, error))


def command_on_read_only_mount(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the platform, in a mount namespace where a folder is read-only."""
    return _in_namespace(_READ_ONLY, [str(folder)], arguments)


def command_on_full_disk(
    folder: Path, copied_from: Path, size: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """A command of the platform, where a folder is a full disk with a copy of another's store."""
    return _in_namespace(_FULL, [str(folder), size, str(copied_from)], arguments)


def _in_namespace(
    script: str, parameters: Sequence[str], arguments: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-m", "true"], capture_output=True).returncode:
        pytest.skip("mounts need the right to make a mount namespace")
    command = [sys.executable, "-m", "batch_predictions.cli", *arguments]
    return subprocess.run(
        [unshare, "-m", "sh", "-c", script, "sh", *parameters, *command],
        capture_output=True,
        text=True,
        check=False,
    )
