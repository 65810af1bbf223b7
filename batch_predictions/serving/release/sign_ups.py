"""Sign-ups: users that an application adds to the current release, so that lookups know them.

The warehouse gets a new user with the next day's raw users at the earliest. Until it has all
attributes that the application gave, every release takes the user over from the previous one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from batch_predictions.core.database import insert_into
from batch_predictions.serving.store.pointer import NoReleaseError, read_pointer
from batch_predictions.serving.store.store import USERS, Store
from batch_predictions.tables.identifiers import id_problem
from batch_predictions.tables.segments import ATTRIBUTES, UNKNOWN, known

_COLUMNS = ("user_id", *ATTRIBUTES, "signed_up_on", "simulated")


def add_sign_ups(
    store: Store, users: Iterable[Mapping[str, object]], simulated: bool = False
) -> int:
    """Adds users to the current release, or updates their attributes, in one transaction.

    Args:
        store: the serving store.
        users: mappings with user_id and, if known, age_bracket (or an age), gender, location and
            signed_up_on. Known values replace the stored ones.
        simulated: marks new users as simulated.

    Returns:
        The number of users.

    Raises:
        ValueError: a user has no valid user_id, or an attribute that the store has no column for.
        NoReleaseError: nothing has been released yet.
    """
    rows = [_row(user, simulated, number) for number, user in enumerate(users, 1)]
    with store.write() as db:
        # The lock prevents that a release takes over without these users.
        pointer = read_pointer(db, lock=True)
        if pointer is None:
            raise NoReleaseError(store.name)
        rows = [{**row, "release_id": pointer.release_id, "added": True} for row in rows]
        upsert = insert_into(db, USERS)
        new = upsert.excluded
        attributes = {
            name: sa.func.coalesce(sa.func.nullif(new[name], UNKNOWN), USERS.c[name])
            for name in ATTRIBUTES
        }
        signed_up_on = sa.func.coalesce(new.signed_up_on, USERS.c.signed_up_on)
        updated = {**attributes, "signed_up_on": signed_up_on, "added": True}
        upsert = upsert.on_conflict_do_update(
            index_elements=["release_id", "user_id"], set_=updated
        )
        if rows:
            db.execute(upsert, rows)
    return len(rows)


def carry_forward(db: sa.Connection, origin: str, to: str) -> None:
    """Copies the sign-ups of one release to another.

    A user who is missing there is added. Unknown attributes of an existing user are filled in; such
    a user stays a sign-up until the warehouse has all attributes.

    Args:
        db: a writing transaction of the store.
        origin: id of the release whose sign-ups are copied.
        to: id of the release that gets them.
    """
    old = USERS.alias("old")
    added = sa.select(sa.literal(to), *(old.c[name] for name in _COLUMNS), sa.true()).where(
        old.c.release_id == origin, old.c.added
    )
    upsert = insert_into(db, USERS).from_select(["release_id", *_COLUMNS, "added"], added)
    new = upsert.excluded
    fills_unknown = {
        name: sa.and_(
            sa.func.coalesce(USERS.c[name], UNKNOWN) == UNKNOWN,
            sa.func.coalesce(new[name], UNKNOWN) != UNKNOWN,
        )
        for name in ATTRIBUTES
    }
    attributes = {
        name: sa.case((fills, new[name]), else_=USERS.c[name])
        for name, fills in fills_unknown.items()
    }
    db.execute(
        upsert.on_conflict_do_update(
            index_elements=["release_id", "user_id"],
            set_={
                **attributes,
                "signed_up_on": sa.func.coalesce(USERS.c.signed_up_on, new.signed_up_on),
                "added": sa.or_(USERS.c.added, *fills_unknown.values()),
            },
        )
    )


def _row(user: Mapping[str, Any], simulated: bool, number: int) -> dict[str, Any]:
    """A row of the store; an error names the sign-up by its number, not by its values."""
    unknown = sorted(set(user) - {"user_id", *ATTRIBUTES, "signed_up_on"})
    if unknown:
        raise ValueError(
            f"a sign-up has {', '.join(unknown)}, for which the store has no column: give user_id, "
            f"{', '.join(ATTRIBUTES)}, signed_up_on"
        )
    user_id = str(user.get("user_id") or "").strip()
    if not user_id:
        raise ValueError(f"sign-up {number} has no user_id")
    if problem := id_problem(user_id):
        raise ValueError(f"the user_id of sign-up {number} {problem}")
    signed_up_on = user.get("signed_up_on")
    if isinstance(signed_up_on, str):
        signed_up_on = dt.date.fromisoformat(signed_up_on)
    attributes = {name: known(name, user.get(name)) or UNKNOWN for name in ATTRIBUTES}
    return {
        "user_id": user_id,
        **attributes,
        "signed_up_on": signed_up_on,
        "simulated": simulated,
    }
