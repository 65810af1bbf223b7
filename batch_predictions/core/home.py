"""The home folder: its state file, and who may use its files."""

from __future__ import annotations

import datetime as dt
import os
import uuid
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

from batch_predictions.core.durability import atomic_write, fsync_folder, write_and_fsync

SCHEMA_VERSION = 1
ERASURES = "erasures.json"
"""The file of a home that has the hashes of erased users."""
BACKTESTS = "backtests"
"""The folder of a home with the homes of its backtests, and their lock."""
REPORT = "report.html"
"""The file of a home with its newest report, which the explorer shows."""


class HomeError(RuntimeError):
    """The home folder is not initialised, or belongs to another source or schema version."""


class StateFileError(HomeError):
    """The home's state file cannot be read."""


class State(BaseModel):
    """Values that the home's first run fixes for good (`<home>/state.yaml`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA_VERSION
    source_kind: str
    timezone: str
    first_day: dt.date
    last_day: dt.date | None = None
    default_date: dt.date
    shift_days: int = 0


def state_path(home: Path) -> Path:
    """The path of the home's state file, `<home>/state.yaml`."""
    return home / "state.yaml"


def state_copy_path(home: Path) -> Path:
    """The copy of the state beside the partitions that were made by it."""
    return home / "warehouse" / ".state.yaml"


def read_state(home: Path) -> State | None:
    """The home's state, or None before its first run.

    Raises:
        HomeError: the file cannot be read, or has another schema version.
    """
    return _read_state_file(state_path(home), "remove it, and the next run restores it")


def read_state_copy(home: Path) -> State | None:
    """The state by which the warehouse's partitions were made; None if there are none.

    Raises:
        HomeError: as `read_state`.
    """
    return _read_state_file(state_copy_path(home), "remove it")


def write_state(home: Path, state: State) -> State:
    """Writes the state, unless another process has written one first. Returns the written one."""
    home.mkdir(parents=True, exist_ok=True)
    draft = home / f".state-{uuid.uuid4().hex}"
    try:
        write_and_fsync(draft, _state_text(state))
        # link, unlike rename, refuses to replace: the first writer wins.
        os.link(draft, state_path(home))
    except FileExistsError:
        existing = read_state(home)
        assert existing is not None
        return existing
    finally:
        draft.unlink(missing_ok=True)
    fsync_folder(home)
    _write_state_copy(home, state)
    return state


def replace_state(home: Path, state: State) -> None:
    """Replaces the state; the caller holds the home's lock."""
    atomic_write(state_path(home), _state_text(state))
    _write_state_copy(home, state)


def _write_state_copy(home: Path, state: State) -> None:
    path = state_copy_path(home)
    path.parent.mkdir(exist_ok=True)
    atomic_write(path, _state_text(state))


def _state_text(state: State) -> str:
    return yaml.safe_dump(state.model_dump(mode="json"), sort_keys=False)


def _read_state_file(path: Path, remedy: str) -> State | None:
    try:
        state = State.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise StateFileError(f"{path} cannot be read ({reason}): {remedy}") from error
    if state.schema_version != SCHEMA_VERSION:
        raise HomeError(
            f"{path} has schema version {state.schema_version}, this program has "
            f"{SCHEMA_VERSION}: choose a new home folder with --home"
        )
    return state


_UMASKS = {"owner": 0o077, "group_read": 0o027, "group": 0o007}


def restrict_new_files(file_mode: Literal["owner", "group_read", "group"]) -> None:
    """Sets who may use the files that this process and its children create from now on.

    Args:
        file_mode: the setting `execution.file_mode`.
    """
    os.umask(_UMASKS[file_mode])
