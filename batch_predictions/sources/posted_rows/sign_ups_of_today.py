"""Attributes of users that an application has posted, for lookups before the next release."""

from __future__ import annotations

import datetime as dt
import logging
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from batch_predictions.core.database import connect, open_engine, sqlite_file
from batch_predictions.core.home import HomeError, read_state
from batch_predictions.core.read_only import StoreError
from batch_predictions.settings import Settings
from batch_predictions.sources.posted_rows.posted_schema import POSTED_USERS, posted_url
from batch_predictions.sources.posted_rows.reader import day_bounds
from batch_predictions.tables.segments import ATTRIBUTES, UNKNOWN, known

LOG_SECONDS = 60.0
PAUSE_SECONDS = 1.0
"""After an error, lookups go on without what was posted for so long."""
_COLUMNS = (*ATTRIBUTES, "signed_up_on", "posted_at")
_NEWEST = (
    sa.select(*(POSTED_USERS.c[name] for name in _COLUMNS))
    .where(POSTED_USERS.c.user_id == sa.bindparam("user_id"))
    .order_by(POSTED_USERS.c.number.desc())
    .limit(1)
)
_NEWEST_IN_SQLITE = (
    f"select {', '.join(_COLUMNS)} from {POSTED_USERS.name} where user_id = ? "
    "order by number desc limit 1"
)
_log = logging.getLogger(__name__)


def timezone_of(settings: Settings) -> ZoneInfo:
    """The source's time zone: as the home's first run fixed it, else as the settings say."""
    try:
        state = read_state(settings.home)
    except HomeError:
        state = None
    return ZoneInfo(state.timezone if state else settings.source.timezone or "UTC")


class PostedUsers:
    """Reads the newest attributes that were posted of a user; can be shared by threads.

    The database is opened when it is there; until somebody posts, there is none. If it cannot be
    read, lookups go on without it, and the log says so.
    """

    def __init__(self, url: str, timezone: ZoneInfo) -> None:
        """Takes the URL of the database of posted rows, and the time zone of the business day."""
        self._engine = open_engine(url, writing=False)
        self._file: Path | None = sqlite_file(sa.make_url(url))
        self._timezone = timezone
        self._inode: tuple[int, int] | None = None
        self._logged_at = self._failed_at = -LOG_SECONDS

    @classmethod
    def of(cls, settings: Settings) -> PostedUsers:
        """Makes the reader of a home's posted users."""
        return cls(posted_url(settings), timezone_of(settings))

    def complete(
        self, user_id: str, as_of: dt.date, stored: Mapping[str, Any] | None
    ) -> Mapping[str, Any] | None:
        """The attributes of a user by a release, completed by what was posted.

        What was posted after the release's day wins; of what was posted before, the pipeline knew,
        and only what the release does not know is filled in.

        Args:
            user_id: as the source writes ids.
            as_of: the release's day.
            stored: age_bracket, gender, location and further columns of the release; None: it does
                not know the user.

        Returns:
            The columns of `stored`, or all if it is None; None if nobody knows the user.
        """
        posted = self._read(user_id)
        if posted is None:
            return stored
        is_newer = posted.pop("posted_at") >= day_bounds(as_of, self._timezone)[1]
        merged = dict(stored) if stored is not None else {}
        for name, value in posted.items():
            if stored is not None and name not in stored:
                continue
            in_release = merged.get(name)
            is_known = in_release not in (None, "", UNKNOWN)
            is_posted = value not in (None, UNKNOWN)
            if is_posted and (is_newer or not is_known):
                merged[name] = value
            elif stored is None:
                merged[name] = UNKNOWN if name in ATTRIBUTES else None
        return merged

    def attributes(
        self, user_id: str, as_of: dt.date, stored: Mapping[str, str | None]
    ) -> Mapping[str, str | None]:
        """Completes a user's attributes by what was posted; unknown ones are None.

        Args:
            user_id: as the source writes ids.
            as_of: the release's day.
            stored: age_bracket, gender and location of the release; None where they are not known.
        """
        merged = self.complete(user_id, as_of, stored) or stored
        return {name: known(name, merged[name]) for name in ATTRIBUTES}

    @property
    def is_file(self) -> bool:
        """Whether a read takes microseconds, so that an event loop may wait for it."""
        return self._file is not None

    def close(self) -> None:
        """Closes the connections to the database of posted rows."""
        self._engine.dispose()

    def _read(self, user_id: str) -> dict[str, Any] | None:
        """The newest posted row of a user; None: there is none, or it cannot be read."""
        if time.monotonic() - self._failed_at < PAUSE_SECONDS:
            # Not every lookup shall wait for a server that does not answer.
            return None
        try:
            if self._file is None:
                return self._read_database(user_id)
            return self._read_file(self._file, user_id)
        except (sa.exc.SQLAlchemyError, sqlite3.Error, StoreError, OSError) as error:
            self._warn(error)
            return None

    def _read_database(self, user_id: str) -> dict[str, Any] | None:
        with connect(self._engine) as db:
            try:
                row = db.execute(_NEWEST, {"user_id": user_id}).one_or_none()
            except sa.exc.ProgrammingError:
                # Nobody has posted anything yet: there is no table.
                db.rollback()
                if not sa.inspect(db).has_table(POSTED_USERS.name):
                    return None
                raise
        return None if row is None else dict(zip(_COLUMNS, row, strict=True))

    def _read_file(self, file: Path, user_id: str) -> dict[str, Any] | None:
        """Reads a user's newest posted row from an SQLite file, without SQLAlchemy's overhead."""
        try:
            status = file.stat()
        except FileNotFoundError:
            return None
        if (inode := (status.st_dev, status.st_ino)) != self._inode:
            # Another file has its name now, such as one that a backup restored.
            self._engine.dispose()
            self._inode = inode
        pooled = self._engine.raw_connection()
        try:
            db: Any = pooled.driver_connection
            row = db.execute(_NEWEST_IN_SQLITE, (user_id,)).fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return None
            # Whoever opens the file anew reads on after a writer was killed.
            pooled.invalidate()
            raise
        finally:
            pooled.close()
        if row is None:
            return None
        posted = dict(zip(_COLUMNS, row, strict=True))
        posted["posted_at"] = dt.datetime.fromisoformat(posted["posted_at"])
        if posted["signed_up_on"]:
            posted["signed_up_on"] = dt.date.fromisoformat(posted["signed_up_on"])
        return posted

    def _warn(self, error: Exception) -> None:
        now = self._failed_at = time.monotonic()
        if now - self._logged_at >= LOG_SECONDS:
            self._logged_at = now
            reason = " ".join(str(error).split())[:300]
            _log.warning("sign-ups that were posted cannot be read: %s", reason)
