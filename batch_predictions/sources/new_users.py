"""New users: those of the source that are not in raw.users yet."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from batch_predictions.sources.base import ABSENT_FINGERPRINT, Source
from batch_predictions.sources.rows.ingest_log import read_ingest_log
from batch_predictions.sources.validation.row_checks import validate_rows
from batch_predictions.tables import USERS
from batch_predictions.warehouse import Warehouse

COLUMNS = ("user_id", "age_bracket", "gender", "location", "signed_up_on")
_SCHEMA = pa.schema(
    [(name, pa.date32() if USERS.type_of(name) == "DATE" else pa.string()) for name in COLUMNS]
)


def new_sign_ups(warehouse: Warehouse, source: Source, cursor: str | None) -> tuple[pa.Table, str]:
    """Users of the source that are not in raw.users, ordered by id, and the next cursor.

    The cursor is the fingerprint of the source's users; while it does not change, the source is not
    read. Invalid rows are left out; the next ingest puts them into the quarantine.

    Args:
        warehouse: the home's warehouse.
        source: the source of the users.
        cursor: cursor that the previous call returned; None for the first call.

    Raises:
        SourceError: the users cannot be read.
    """
    fingerprint = source.fingerprint(USERS)
    if fingerprint in (cursor, ABSENT_FINGERPRINT):
        return _SCHEMA.empty_table(), fingerprint
    # Ages of birthdays are as of the newest snapshot, as in raw.users.
    log = read_ingest_log(Path(warehouse.home), USERS)
    day = log.as_of or source.state.default_date.isoformat()
    with warehouse.connect(private=True) as db:
        validated = validate_rows(db, source, USERS, None, snapshot_day=day)
        sign_ups = db.sql(
            f"select {', '.join(COLUMNS)} from ({validated.accepted}) s "
            f"anti join {USERS.qualified} u using (user_id) order by user_id"
        ).to_arrow_table()
    return sign_ups.cast(_SCHEMA), fingerprint
