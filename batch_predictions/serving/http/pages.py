"""Pages of a table's rows: every page of one walk is of one release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from batch_predictions.serving.http.current_release import CurrentRelease
from batch_predictions.serving.http.page_tokens import PagePosition, decode_token, encode_token
from batch_predictions.serving.http.problems import WRONG_PAGE_TOKEN, WRONG_REQUEST, ProblemError
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.lookup.rows import key_of_row, read_table_rows
from batch_predictions.serving.store.snapshot import ServedRelease


async def read_page(
    service: PredictionService,
    table: str,
    key: Mapping[str, Any],
    limit: int,
    page_token: str | None,
) -> tuple[dict[str, Any], CurrentRelease]:
    """A page of rows, and their release.

    Args:
        service: to read from.
        table: a published table.
        key: values by column; text is converted to the column's type.
        limit: rows at most.
        page_token: of the page before; None: the first page.

    Returns:
        rows and next_page_token (None after the last page), and the release.

    Raises:
        ProblemError: the token is not one of this table and key, or a value not of its type.
        NotPublishedError: the release has no such table, or the table no such column.
        ReleaseRemovedError: the release of the token has been removed.
    """
    position = decode_token(page_token, table, key)

    def read(db: sa.Connection, served: ServedRelease) -> list[dict[str, Any]]:
        return read_table_rows(db, served, table, key, limit + 1, position.after)

    try:
        rows, release = await service.look_up(lambda lookup: lookup.read(read), position.release_id)
    except (ValueError, TypeError) as error:
        if page_token is not None:
            raise ProblemError(WRONG_PAGE_TOKEN, "page_token cannot be read.") from None
        raise ProblemError(WRONG_REQUEST, str(error)) from None
    token = None
    if len(rows) > limit:
        del rows[limit:]
        after = tuple(key_of_row(release.served, table, rows[-1]))
        token = encode_token(PagePosition(release.served.release_id, after), table, key)
    return {"rows": rows, "next_page_token": token}, release
