"""Sign-ups that applications have posted, as rows of raw.users."""

from __future__ import annotations

import uuid

import duckdb

from batch_predictions.core.erasures import erased_users
from batch_predictions.sources.base import Source
from batch_predictions.sources.validation.column_rules import column_rules
from batch_predictions.tables import USERS


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
    db.execute(
        f"create temp table {added} as with posted as ("
        # Ids as those of the source are read, of which two may be equal; none is lost as empty.
        f"select * replace (coalesce({user_id}, user_id) as user_id) from arrow_{suffix}) "
        "select user_id, "
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
