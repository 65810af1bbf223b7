"""People who signed up since the last snapshot: in the source's users, not yet in raw.users."""

from __future__ import annotations

import pyarrow as pa

from batch_predictions.sources.base import ABSENT, Source
from batch_predictions.sources.validation.row_checks import validate_rows
from batch_predictions.tables import USERS
from batch_predictions.warehouse import Warehouse

COLUMNS = ("user_id", "age_bracket", "gender", "location", "signed_up_on")
_SCHEMA = pa.schema(
    [(name, pa.date32() if USERS.type_of(name) == "DATE" else pa.string()) for name in COLUMNS]
)


def new_sign_ups(warehouse: Warehouse, source: Source, cursor: str | None) -> tuple[pa.Table, str]:
    """Users that the source has and raw.users has not, ordered by id, and the next cursor.

    The cursor is the fingerprint of the source's users: while it stays, nothing is read again.
    Rows that would be refused are left to the next ingest, which keeps them in quarantine.

    Args:
        warehouse: the home's warehouse.
        source: where the users come from.
        cursor: what the last call returned; None at first.

    Raises:
        SourceError: the users cannot be read as they are.
    """
    fingerprint = source.fingerprint(USERS)
    if fingerprint in (cursor, ABSENT):
        return _SCHEMA.empty_table(), fingerprint
    with warehouse.connect() as db:
        # The day stands for none: nothing of it is returned or written.
        checked = validate_rows(
            db, source, USERS, None, undated=source.state.default_date.isoformat()
        )
        found = db.sql(
            f"select {', '.join(COLUMNS)} from ({checked.accepted}) s "
            f"anti join {USERS.qualified} u using (user_id) order by user_id"
        ).to_arrow_table()
    return found.cast(_SCHEMA), fingerprint
