"""The home folder: what is fixed on its first run, who is at work in it, and where things lie."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 1


class HomeError(RuntimeError):
    """The home folder has not begun, or belongs to another source or version."""


class HomeBusyError(RuntimeError):
    """Another process holds the home's lock; the message says which."""


class State(BaseModel):
    """What is fixed on the home's first run and never computed again (`<home>/state.yaml`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA_VERSION
    source_kind: str
    timezone: str
    first_day: dt.date
    last_day: dt.date | None = None
    default_date: dt.date
    shift_days: int = 0


def state_path(home: Path) -> Path:
    """`<home>/state.yaml`."""
    return home / "state.yaml"


def read_state(home: Path) -> State | None:
    """The home's state, or None before its first run.

    Raises:
        HomeError: the file was written by another version of the platform.
    """
    try:
        text = state_path(home).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    state = State.model_validate(yaml.safe_load(text))
    if state.schema_version != SCHEMA_VERSION:
        raise HomeError(
            f"{state_path(home)} has schema version {state.schema_version}, this program has "
            f"{SCHEMA_VERSION}: begin a new home folder with --home"
        )
    return state


def write_state(home: Path, state: State) -> State:
    """Fixes the state; where another process was faster, its state holds. Returns what holds."""
    home.mkdir(parents=True, exist_ok=True)
    draft = home / f".state-{uuid.uuid4().hex}"
    text = yaml.safe_dump(state.model_dump(mode="json"), sort_keys=False)
    try:
        write_and_fsync(draft, text)
        # link, unlike rename, refuses to replace: the first writer wins.
        os.link(draft, state_path(home))
    except FileExistsError:
        held = read_state(home)
        assert held is not None
        return held
    finally:
        draft.unlink(missing_ok=True)
    fsync_folder(home)
    return state


def write_and_fsync(path: Path, text: str) -> None:
    """Writes a text and waits until it is on the disk."""
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def atomic_write(path: Path, text: str) -> None:
    """Replaces a file by a text, whole or not at all."""
    draft = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    write_and_fsync(draft, text)
    draft.replace(path)
    fsync_folder(path.parent)


def rename_if_absent(draft: Path, target: Path) -> None:
    """Renames a finished folder into its place, unless an equal one is there already."""
    try:
        draft.replace(target)
    except OSError:
        # Not empty: another process was faster.
        if not target.is_dir():
            raise


def fsync_folder(folder: Path) -> None:
    """Makes renames in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def process_exists(pid: int) -> bool:
    """Whether a process of this number runs on this host, whoever's it is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def home_lock(home: Path, what: str) -> Iterator[None]:
    """Holds the home's lock, which ends with the process, however it ends.

    Raises:
        HomeBusyError: another process holds it; the message names its number, host and work.
    """
    home.mkdir(parents=True, exist_ok=True)
    path = home / "run.lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise HomeBusyError(_holder(file.read(), home)) from None
        file.truncate(0)
        started = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "what": what, "since": started}
        file.write(json.dumps(holder))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _holder(text: str, home: Path) -> str:
    try:
        holder = json.loads(text)
        who = (
            f"process {holder['pid']} on {holder['host']} "
            f"(`{holder['what']}`, since {holder['since']})"
        )
    except (json.JSONDecodeError, KeyError):
        who = "another process that has just started"
    return f"{home} is in use by {who}: wait until it ends, or choose another --home"
