"""Events and sign-ups that applications have posted, as sources of raw.feedback and raw.users."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb

from batch_predictions.core.erasures import erased_users
from batch_predictions.sources.base import Source, SourceError
from batch_predictions.sources.posted_rows.reader import PostedRows, day_bounds
from batch_predictions.sources.rows.ingest_log import read_ingest_log
from batch_predictions.sources.rows.merges import merged_days
from batch_predictions.sources.rows.spans import LaterRows, Span
from batch_predictions.sources.validation.column_rules import column_rules
from batch_predictions.sources.validation.merged_users import (
    aliases_sql,
    read_aliases,
    with_present_users,
)
from batch_predictions.sources.validation.row_checks import ValidatedRows, validate_rows
from batch_predictions.tables import FEEDBACK, USERS, Table
from batch_predictions.tables.partitions import days_between
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.delta_tables import local_file
from batch_predictions.warehouse.path_sql import quote_files

LIST_SOURCE = "list_source"
"""Name of `raw.feedback.source` while rows are validated: there, `source` is the file of a row."""
_VALIDATED = replace(
    FEEDBACK,
    columns=tuple(
        replace(column, name=LIST_SOURCE) if column.name == "source" else column
        for column in FEEDBACK.columns
    ),
)
_NAME = "posted events"


class FeedbackSource(Source):
    """Reads raw.feedback from the events that were posted to the HTTP service.

    An event is of the business day in which it occurred, however late it was posted: a day that
    gets late events has another fingerprint, and is ingested again.
    """

    kind = "posted"

    @classmethod
    def of(cls, source: Source) -> FeedbackSource:
        """Makes the feedback of another source's home, with its time zone and rules of ids."""
        feedback = cls(source.settings, source.state)
        feedback.home, feedback.limits, feedback.posted = source.home, source.limits, source.posted
        return feedback

    @property
    def _posted(self) -> PostedRows:
        if self.posted is None:
            raise SourceError("posted events can be read only with the settings of a home")
        return self.posted

    def tables(self) -> tuple[Table, ...]:
        """The one table of this source, raw.feedback."""
        return (FEEDBACK,)

    def span(self, today: dt.date) -> Span:
        """The days of the home: events have none of their own before it is initialised."""
        state = self.state
        return Span(state.first_day, state.last_day, state.default_date, state.shift_days)

    def newest_complete_day(self, today: dt.date) -> dt.date:
        """Returns the day before `today`: events can come until a day is over."""
        return today - dt.timedelta(days=1)

    def day_range(self, table: Table) -> tuple[dt.date, dt.date] | None:
        """Days of the oldest and the newest event."""
        times = self._posted.first_and_last_event()
        if times is None:
            return None
        first, last = map(self._day_of, times)
        return first, last

    def first_day_left(self) -> dt.date | None:
        """Day of the oldest event that is still in the database of posted rows."""
        time = self._posted.first_event()
        return None if time is None else self._day_of(time)

    def _day_of(self, time: dt.datetime) -> dt.date:
        return time.replace(tzinfo=dt.UTC).astimezone(ZoneInfo(self.timezone)).date()

    def later_rows(self, table: Table, last: dt.date) -> LaterRows | None:
        """Events after a day, which are ingested when their day is over."""
        days = self.day_range(table)
        if days is None or days[1] <= last:
            return None
        first = max(days[0], last + dt.timedelta(days=1))
        return LaterRows(self._count(first, days[1]), first, days[1])

    def rows_before(self, first: dt.date) -> int:
        """Events before the home's first day, which no partition has."""
        days = self.day_range(FEEDBACK)
        if days is None or days[0] >= first:
            return 0
        return self._count(days[0], first - dt.timedelta(days=1))

    def fingerprint(self, table: Table) -> str:
        """A text that changes with the number of events, the newest one, or the rules of ids."""
        return self._fingerprint(dt.datetime.min, dt.datetime.max)

    def day_fingerprints(self, table: Table, days: Sequence[str]) -> dict[str, str]:
        """Texts by day that change with the number of its events and the newest of them."""
        occupied = self.day_range(table)
        none = self.fingerprint_of((0, 0))
        fingerprints = dict.fromkeys(days, none)
        if occupied is None:
            return fingerprints
        with_events = [day for day in days if occupied[0] <= as_date(day) <= occupied[1]]
        states = self._posted.event_states([self._bounds(as_date(day)) for day in with_events])
        for day, state in zip(with_events, states, strict=True):
            fingerprints[day] = self.fingerprint_of(state)
        return fingerprints

    def rows_sql(
        self,
        db: duckdb.DuckDBPyConnection,
        table: Table,
        days: Sequence[str] | None,
        limit: int | None = None,
    ) -> str:
        """Events of days, in a temporary table of `db`."""
        name = f"posted_events_{uuid.uuid4().hex}"
        db.execute(
            f"create temp table {name} (date DATE, number BIGINT, event_id VARCHAR, "
            "event_type VARCHAR, user_id VARCHAR, item_id VARCHAR, recommendation_id VARCHAR, "
            f"release_id VARCHAR, {LIST_SOURCE} VARCHAR, rank BIGINT, bucket VARCHAR, "
            "occurred_at TIMESTAMP, received_at TIMESTAMP)"
        )
        for day in self._all_days() if days is None else days:
            for batch in self._posted.events(*self._bounds(as_date(day))):
                db.register("posted_batch", batch)
                db.execute(f"insert into temp.{name} select ?::DATE, * from posted_batch", [day])
                db.unregister("posted_batch")
            self._add_pruned(db, name, as_date(day))
        top = f" limit {limit}" if limit else ""
        return (
            f"select *, '{_NAME}' as source, number as row_number, null::VARCHAR as problem, "
            "struct_pack(number, event_id, event_type, user_id, item_id, recommendation_id, "
            f"release_id, source := {LIST_SOURCE}, rank, bucket, occurred_at) as row, "
            f"null::VARCHAR as line from temp.{name}{top}"
        )

    def _add_pruned(self, db: duckdb.DuckDBPyConnection, name: str, day: dt.date) -> None:
        """Adds the day's events that were removed since the warehouse has them, from there.

        An event that was sent again afterwards is there already.
        """
        if self.home is None or not self._posted.pruned_events(*self._bounds(day)):
            return
        path = self.home / "warehouse" / "raw" / "feedback" / f"date={day}" / "data.parquet"
        if not path.exists():
            raise SourceError(
                f"raw.feedback has no partition {day}, whose events were removed from the posted "
                "rows after their ingest (retention.posted_days): restore it from a backup"
            )
        rows = f"read_parquet({quote_files([local_file(path)])}, hive_partitioning=false)"
        db.execute(
            f"delete from temp.{name} where date = $day::DATE "
            f"and event_id in (select event_id from {rows})",
            {"day": day},
        )
        db.execute(
            f"insert into temp.{name} select $day::DATE, null, event_id, event_type, user_id, "
            f"item_id, recommendation_id, release_id, source, rank, bucket, occurred_at, null "
            f"from {rows}",
            {"day": day},
        )

    def _all_days(self) -> list[str]:
        days = self.day_range(FEEDBACK)
        if days is None:
            return []
        return days_between(*days)

    def _bounds(self, day: dt.date) -> tuple[dt.datetime, dt.datetime]:
        return day_bounds(day, ZoneInfo(self.timezone))

    def _count(self, first: dt.date, last: dt.date) -> int:
        return self._posted.event_state(self._bounds(first)[0], self._bounds(last)[1])[0]

    def _fingerprint(self, begin: dt.datetime, end: dt.datetime) -> str:
        return self.fingerprint_of(self._posted.event_state(begin, end))

    def fingerprint_of(self, state: tuple[int, int]) -> str:
        """Makes the fingerprint of events from their count and highest number."""
        count, number = state
        rules = {name: rule.model_dump(mode="json") for name, rule in self.settings.ids.items()}
        digest = hashlib.sha256(repr(sorted(rules.items())).encode()).hexdigest()[:12]
        return f"{count}-{number} {digest}"


def validate_feedback(
    db: duckdb.DuckDBPyConnection, source: Source, days: Sequence[str]
) -> ValidatedRows:
    """Validates the posted events of days like rows of other raw tables.

    Args:
        db: the connection that gets temporary tables of the rows.
        source: the feedback of a home.
        days: ISO dates.
    """
    validated = validate_rows(db, source, _VALIDATED, days)
    accepted = f"select * rename ({LIST_SOURCE} as source) from ({validated.accepted})"
    return replace(validated, accepted=accepted)


def feedback_days_due(
    warehouse: Warehouse,
    source: Source,
    first: dt.date,
    last: dt.date,
    aliases: Mapping[str, str] | None = None,
) -> list[str]:
    """Finds days with events that are not ingested, or have changed since their ingest.

    Args:
        warehouse: of the home.
        source: of the home, whose feedback is asked for.
        first: first day.
        last: last day.
        aliases: present id by alias, of users that were merged; None: as they were ingested.
    """
    if aliases is None:
        aliases = read_aliases(Path(warehouse.home))
    feedback = FeedbackSource.of(source)
    occupied = feedback.day_range(FEEDBACK)
    ingest_log = read_ingest_log(Path(warehouse.home), FEEDBACK)
    merged = merged_days(warehouse, FEEDBACK, ingest_log, aliases)
    log = ingest_log.days
    existing = set(warehouse.partitions(FEEDBACK))
    candidates = set(log)
    if occupied is not None:
        candidates.update(days_between(max(first, occupied[0]), min(last, occupied[1])))
    days = sorted(day for day in candidates if str(first) <= day <= str(last))
    fingerprints = feedback.day_fingerprints(FEEDBACK, days)
    empty = feedback.day_fingerprints(FEEDBACK, ["0001-01-01"])["0001-01-01"]

    def is_current(day: str) -> bool:
        entry = log.get(day)
        if entry is None:
            return fingerprints[day] == empty
        is_same = entry.fingerprint == fingerprints[day] and day not in merged
        return day in existing and is_same

    return [day for day in days if not is_current(day)]


def posted_users_fingerprint(source: Source) -> str:
    """A text that changes when the sign-ups that were posted change; empty: there are none."""
    if source.posted is None:
        return ""
    count, number = source.posted.user_state()
    return f" posted {count}-{number}" if count else ""


def with_posted_users(db: duckdb.DuckDBPyConnection, source: Source, rows: str) -> tuple[str, int]:
    """A query for rows of raw.users and the users that were posted and are not among them.

    The source's row wins where it has the user; who was erased is left out. As of the source's
    users, the present ones are read; features of a day leave out those who signed up after it.
    Where the application did not say when somebody signed up, it is the day of the first request.

    Args:
        db: the connection of the rows.
        source: of the home, with the posted rows.
        rows: query for the rows of the source, and those that commands added.

    Returns:
        The query, and the number of posted users in it.
    """
    if source.posted is None:
        return rows, 0
    users = source.posted.users()
    if not users.num_rows:
        return rows, 0
    erased = erased_users(source.home)
    suffix = uuid.uuid4().hex
    known, added = f"known_users_{suffix}", f"posted_users_{suffix}"
    db.execute(f"create temp table {known} as {rows}")
    db.register(f"arrow_{suffix}", users)
    rules = column_rules(USERS, source.timezone, source.settings.ids)
    [user_id] = [rule.value_sql("user_id", "VARCHAR") for rule in rules if rule.name == "user_id"]
    # Ids as those of the source are read, of which two may be equal; none is lost as empty.
    posted = f"select * replace (coalesce({user_id}, user_id) as user_id) from arrow_{suffix}"
    if source.home is not None and (aliases := aliases_sql(source.home)):
        posted = with_present_users(posted, f"({aliases})")
    db.execute(
        f"create temp table {added} as with posted as ({posted}) select user_id, "
        "coalesce(signed_up_on, timezone($timezone, timezone('UTC', first_posted_at))::DATE) "
        "as signed_up_on, age_bracket, gender, location, "
        f"null::{USERS.type_of('attributes')} as attributes from posted "
        f"where user_id not in (select user_id from temp.{known}) "
        f"and ({erased.condition('user_id')}) is not true "
        "qualify row_number() over (partition by user_id order by first_posted_at desc) = 1",
        {"timezone": source.timezone},
    )
    db.unregister(f"arrow_{suffix}")
    row = db.execute(f"select count(*) from temp.{added}").fetchone()
    merged = f"select * from temp.{known} union all by name select * from temp.{added}"
    return merged, int(row[0]) if row else 0
