"""Turns what clients post into rows to store, and says what cannot be."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from batch_predictions.core.erasures import ErasureWatcher
from batch_predictions.core.home import HomeError, read_state
from batch_predictions.serving.http.posted_models import Event, InvalidEvent, SignUp
from batch_predictions.serving.http.problems import ERASED, WRONG_REQUEST, ProblemError
from batch_predictions.serving.http.recommendation_answers import release_id_of
from batch_predictions.serving.lookup.lookup_source import SourceIds
from batch_predictions.settings import Settings
from batch_predictions.tables.segments import AGE_BRACKETS, ATTRIBUTES, known

MAX_AHEAD = dt.timedelta(minutes=5)
"""How far clocks of clients may be ahead."""
_OLDEST = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_RECEIVED = "received_at"


class EventRows(NamedTuple):
    """The valid events of a request as rows, and the others by their place in it."""

    rows: list[dict[str, Any]]
    refused: dict[int, InvalidEvent]


class Posting:
    """Makes rows of a home: with ids as its source writes them, and from its first day on."""

    def __init__(
        self,
        settings: Settings,
        ids: Callable[[], SourceIds],
        timezone: dt.tzinfo,
        bucket_of: Callable[[str], str | None],
    ) -> None:
        """Sets what rows depend on.

        Args:
            settings: of the home.
            ids: how the source of the current release writes ids.
            timezone: of the business day.
            bucket_of: the bucket of a user, for events that do not say theirs.
        """
        self._settings, self._ids, self._timezone = settings, ids, timezone
        self._bucket_of = bucket_of
        self._erased = ErasureWatcher(settings.home)
        self._first_moment: dt.datetime | None = None

    def event_rows(self, events: Sequence[Event | InvalidEvent]) -> EventRows:
        """Rows of `posted_events`; events of equal ids in one request count once."""
        received = utc_now()
        rows: dict[str, dict[str, object]] = {}
        refused: dict[int, InvalidEvent] = {}
        for index, event in enumerate(events):
            if isinstance(event, InvalidEvent):
                refused[index] = event
                continue
            problem = self._problem(event, received)
            if problem is not None:
                refused[index] = InvalidEvent(event.event_id, [problem])
            else:
                rows.setdefault(event.event_id, self._row(event, received))
        return EventRows(list(rows.values()), refused)

    def user_row(self, user_id: str, sign_up: SignUp) -> dict[str, object]:
        """A row of `posted_users`.

        Raises:
            ProblemError: the age is none, the day is in the future, or the user was erased.
        """
        user_id = self._ids().normalise("user_id", user_id)
        if self._erased.users.matches(user_id):
            raise ProblemError(ERASED, "The user was erased, and is not accepted again.")
        attributes = {name: known(name, getattr(sign_up, name)) for name in ATTRIBUTES}
        age = attributes["age_bracket"]
        if age is not None and age not in AGE_BRACKETS:
            raise _invalid(
                "age_bracket", f"it is neither an age of 0 to 120 nor {', '.join(AGE_BRACKETS)}"
            )
        now = utc_now()
        tomorrow = now.astimezone(self._timezone).date() + dt.timedelta(days=1)
        if sign_up.signed_up_on is not None and sign_up.signed_up_on > tomorrow:
            raise _invalid("signed_up_on", "it is in the future")
        return {
            "user_id": user_id,
            **attributes,
            "signed_up_on": sign_up.signed_up_on,
            "posted_at": _stored(now),
        }

    def _problem(self, event: Event, received: dt.datetime) -> dict[str, str] | None:
        """Why an event cannot be stored although its keys are right; None: it can."""
        if self._erased.users.matches(self._ids().normalise("user_id", event.user_id)):
            return _problem("user_id", "the user was erased, and is not accepted again")
        at = event.occurred_at
        named = release_id_of(event.recommendation_id or "")
        if at is not None and at > received + MAX_AHEAD:
            return _problem("occurred_at", "it is in the future: check the clock and the offset")
        if at is not None and at < self._oldest():
            return _problem(
                "occurred_at", "it is before the first day of the home, which is never ingested"
            )
        if named and event.release_id and named != event.release_id:
            return _problem("release_id", "it is not the release of recommendation_id")
        return None

    def _row(self, event: Event, received: dt.datetime) -> dict[str, object]:
        row = event.model_dump()
        row["user_id"] = self._ids().normalise("user_id", event.user_id)
        row["item_id"] = self._ids().normalise("item_id", event.item_id)
        row["release_id"] = event.release_id or release_id_of(event.recommendation_id or "")
        if event.bucket is None and event.recommendation_id is not None:
            row["bucket"] = self._bucket_of(row["user_id"])
        row["occurred_at"] = _stored(event.occurred_at or received)
        return {**row, _RECEIVED: _stored(received)}

    def _oldest(self) -> dt.datetime:
        """The beginning of the home's first day; of the year 2000 before its first run."""
        if self._first_moment is None:
            try:
                state = read_state(self._settings.home)
            except HomeError:
                state = None
            if state is None:
                return _OLDEST
            self._first_moment = dt.datetime.combine(state.first_day, dt.time(), self._timezone)
        return self._first_moment


def utc_now() -> dt.datetime:
    """The time now, aware."""
    return dt.datetime.fromtimestamp(time.time(), dt.UTC)


def _stored(time_: dt.datetime) -> dt.datetime:
    """A time as posted rows have it: UTC without a time zone."""
    return time_.astimezone(dt.UTC).replace(tzinfo=None)


def _problem(where: str, problem: str) -> dict[str, str]:
    return {"where": where, "problem": problem}


def _invalid(where: str, problem: str) -> ProblemError:
    error = _problem(f"body.{where}", problem)
    return ProblemError(WRONG_REQUEST, f"{error['where']}: {problem}", errors=[error])
