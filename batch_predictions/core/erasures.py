"""The record of erased users: `<home>/erasures.json`, with a salted hash of each id and no id.

The hashes are what an ingest refuses rows by, and what an erasure that was killed goes on by. Who
has the file can test whether a given id was erased, so it is as private as the home's other files.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ValidationError

from batch_predictions.core.durability import atomic_write
from batch_predictions.core.file_lock import file_lock
from batch_predictions.core.home import ERASURES, HomeError
from batch_predictions.core.home_bucket import refresh

FILE_NAME = ERASURES
REASON = "erased"
"""Reason of refused rows of an erased user in `raw.quarantine`; the row itself is not kept."""
_WORD = re.compile(r"[^\s|\"'\\,;()\[\]{}<>`]+")


class ErasureWork(BaseModel):
    """Trainings and digests that were current before an erasure, to be renewed after it.

    Attributes:
        trainings: model and last day of the trainings whose rows had not changed.
        is_run_unchanged: whether the last run had nothing to do again.
        are_weeks_unchanged: whether its weekly tables had not.
    """

    trainings: list[tuple[str, str]]
    is_run_unchanged: bool
    are_weeks_unchanged: bool


class Erasure(BaseModel):
    """An erased user.

    Attributes:
        hash: SHA-256 of salt and id.
        requested_at: UTC.
        finished_at: UTC; None: not everything is erased yet.
        is_known: whether a row of the user was there.
    """

    hash: str
    requested_at: dt.datetime
    finished_at: dt.datetime | None = None
    is_known: bool = False


class ErasureLog(BaseModel):
    """All erasures of a home.

    Attributes:
        salt: of the hashes, in hexadecimal.
        erasures: oldest first.
        work: of the erasure that is being done; None: none is.
    """

    salt: str
    erasures: list[Erasure] = []
    work: ErasureWork | None = None

    @property
    def pending(self) -> list[Erasure]:
        """Erasures that are not finished."""
        return [erasure for erasure in self.erasures if erasure.finished_at is None]

    @property
    def users(self) -> ErasedUsers:
        """The erased users, also those whose erasure is not finished."""
        return ErasedUsers(self.salt, frozenset(erasure.hash for erasure in self.erasures))

    def is_known(self, user_id: str) -> bool:
        """Returns whether there was a row of a user whose erasure was requested."""
        hash_ = self.hash_of(user_id)
        return any(erasure.is_known for erasure in self.erasures if erasure.hash == hash_)

    def hash_of(self, user_id: str) -> str:
        """The hash of an id."""
        return hashlib.sha256(f"{self.salt}{user_id}".encode()).hexdigest()


class ErasedUsers:
    """Recognises ids of erased users.

    Args:
        salt: of the hashes.
        hashes: SHA-256 of salt and id of each user.

    Attributes:
        found: the hashes of ids that `matches` was asked about.
    """

    def __init__(self, salt: str, hashes: frozenset[str]) -> None:
        self.salt, self.hashes = salt, hashes
        self.found: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self.hashes)

    def matches(self, user_id: object) -> bool:
        """Returns whether an id is that of an erased user."""
        hash_ = hashlib.sha256(f"{self.salt}{user_id}".encode()).hexdigest()
        if hash_ not in self.hashes:
            return False
        self.found.add(hash_)
        return True

    def condition(self, sql: str) -> str:
        """DuckDB's SQL of `matches` for an expression; null where that is null."""
        hashes = ", ".join(f"'{hash_}'" for hash_ in sorted(self.hashes))
        return f"sha256('{self.salt}' || {sql}) in ({hashes or 'null'})"

    def are_in_values(self, value: object, normalise: Callable[[str], str] = str) -> bool:
        """Returns whether a JSON value is an id of an erased user, or has one in it.

        Args:
            value: a text, number, list or mapping.
            normalise: writes a text as ids are written.
        """
        if isinstance(value, dict):
            return any(self.are_in_values(inner, normalise) for inner in value.values())
        if isinstance(value, list):
            return any(self.are_in_values(inner, normalise) for inner in value)
        if value is None or isinstance(value, bool):
            return False
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return self.matches(normalise(str(value)))

    def are_in_text(self, text: str, normalise: Callable[[str], str] = str) -> bool:
        """Returns whether a word of a text, or a cell of a line, is the id of an erased user."""
        words = set(_WORD.findall(text))
        words |= {word.strip(".:=*") for word in words}
        words |= {cell.strip() for cell in re.split(r"[|,;\t\n]", text)}
        words |= {cell.strip(" \"'") for cell in words}
        return any(self.matches(normalise(word)) for word in words if word)


NOBODY = ErasedUsers("", frozenset())


@dataclass(frozen=True)
class ErasedKeys:
    """The ids of erased users and of their reviews, whose rows are removed.

    Attributes:
        matches: whether an id is that of an erased user.
        user_ids: their ids; empty: all ids of a table are compared.
        review_ids: ids of their reviews.
    """

    matches: Callable[[str], bool]
    user_ids: frozenset[str] = field(default_factory=frozenset)
    review_ids: frozenset[str] = field(default_factory=frozenset)

    def erased(self, column: str, ids: Collection[str | None]) -> set[str]:
        """Returns the ids of a column that are erased."""
        is_erased = self.matches if column == "user_id" else self.review_ids.__contains__
        return {id_ for id_ in ids if id_ is not None and is_erased(id_)}


def read_erasures(home: Path | None) -> ErasureLog | None:
    """The erasures of a home; None where there never was one.

    Raises:
        HomeError: the file cannot be read.
    """
    if home is None:
        return None
    path = home / FILE_NAME
    try:
        return ErasureLog.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise HomeError(
            f"{path} cannot be read: restore it from a backup, since users who were erased would "
            "be ingested again without it"
        ) from error


def erased_users(home: Path | None) -> ErasedUsers:
    """The erased users of a home.

    Raises:
        HomeError: the record cannot be read.
    """
    log = read_erasures(home)
    return log.users if log else NOBODY


class ErasureWatcher:
    """The erased users of a home, read again when their record has changed."""

    def __init__(self, home: Path) -> None:
        """Takes the home folder, which need not exist."""
        self._home = home
        self._state: tuple[int, int, int] | None = None
        self._users = NOBODY

    @property
    def users(self) -> ErasedUsers:
        """The erased users as they are recorded now.

        Raises:
            HomeError: the record cannot be read.
        """
        try:
            stat = (self._home / FILE_NAME).stat()
        except OSError:
            return NOBODY
        state = stat.st_ino, stat.st_size, stat.st_mtime_ns
        if state != self._state:
            self._users = erased_users(self._home)
            self._state = state
        return self._users


def request_erasure(home: Path, user_id: str, now: dt.datetime) -> Erasure:
    """Records that a user is to be erased: from now on, no ingest accepts the user's rows.

    Args:
        home: the home folder.
        user_id: the id, as raw tables have it.
        now: the time.
    """
    with update_erasures(home) as log:
        hash_ = log.hash_of(user_id)
        is_known = any(e.hash == hash_ and e.is_known for e in log.pending)
        log.erasures = [erasure for erasure in log.erasures if erasure.hash != hash_]
        erasure = Erasure(hash=hash_, requested_at=now, is_known=is_known)
        log.erasures.append(erasure)
    return erasure


def record_known(home: Path, hashes: Collection[str]) -> None:
    """Records that rows of users were there, before the last of them are removed.

    Args:
        home: the home folder.
        hashes: of their ids.
    """
    if hashes:
        with update_erasures(home) as log:
            log.erasures = [
                e.model_copy(update={"is_known": e.is_known or e.hash in hashes})
                for e in log.erasures
            ]


@contextmanager
def update_erasures(home: Path) -> Iterator[ErasureLog]:
    """The record, locked; it is written when the block ends without an error."""
    home.mkdir(parents=True, exist_ok=True)
    with file_lock(home / f".{FILE_NAME}.lock"):
        refresh(home / FILE_NAME)
        log = read_erasures(home) or ErasureLog(salt=secrets.token_hex(16))
        yield log
        atomic_write(home / FILE_NAME, log.model_dump_json(indent=1) + "\n")
