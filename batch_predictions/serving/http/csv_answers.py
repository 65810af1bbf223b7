"""Audiences as CSV: a stream of all rows, of one release."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import Query, Request
from starlette.responses import StreamingResponse

from batch_predictions.core.csv_text import cell, has_ambiguous_items, without_formula
from batch_predictions.serving.http.problems import ProblemError
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.lookup.rows import key_of_row, read_table_rows
from batch_predictions.serving.store.snapshot import ServedRelease

CHUNK_ROWS = 2_000
CSV_RESPONSE: dict[int | str, dict[str, object]] = {
    200: {
        "content": {
            "text/csv": {
                "schema": {"type": "string"},
                "example": "rank,user_id,churn_probability\n1,2210,0.276\n",
            }
        }
    }
}
"""What OpenAPI says of an address that answers CSV too."""
Format = Annotated[
    Literal["json", "csv"] | None,
    Query(description="Overrides the header Accept; json where neither says anything."),
]


def wants_csv(request: Request, format_: str | None) -> bool:
    """Returns whether a request asks for CSV."""
    if format_ is not None:
        return format_ == "csv"
    return "text/csv" in request.headers.get("accept", "")


async def csv_response(
    service: PredictionService,
    table: str,
    key: Mapping[str, object],
    problem_if_empty: Callable[[ServedRelease], ProblemError] | None = None,
) -> StreamingResponse:
    """All rows of a key as CSV with a header.

    Items of a list are separated by spaces, or written as JSON where one has a space. A text that a
    spreadsheet would run as a formula gets an apostrophe in front. The headers X-Release-Id and
    X-As-Of name the release. If it is removed meanwhile, the answer breaks off, as an error.

    Args:
        service: to read from.
        table: a published table.
        key: values by column.
        problem_if_empty: what is wrong where the release has no such rows; None: nothing.

    Raises:
        NotPublishedError: the release has no such table.
        ProblemError: it has no such rows.
    """
    rows, release = await service.look_up(_reader(table, key, None))
    served = release.served
    if not rows and problem_if_empty:
        raise problem_if_empty(served)
    columns = list(served.tables[table]["columns"])

    async def chunks() -> AsyncIterator[str]:
        chunk = rows
        yield _text([[without_formula(name) for name in columns]])
        while chunk:
            yield _text([[_cell(row[name]) for name in columns] for row in chunk])
            if len(chunk) < CHUNK_ROWS:
                return
            after = key_of_row(served, table, chunk[-1])
            chunk, _ = await service.look_up(_reader(table, key, after), served.release_id)

    as_of = served.day_of(table)
    headers = {
        "content-disposition": f'attachment; filename="{table}_{as_of}.csv"',
        "x-release-id": served.release_id,
        "x-as-of": as_of.isoformat(),
        "cache-control": "private, no-cache",
        "x-content-type-options": "nosniff",
    }
    return StreamingResponse(chunks(), media_type="text/csv; charset=utf-8", headers=headers)


def _reader(table: str, key: Mapping[str, object], after: Sequence[object] | None) -> Any:
    def read(db: sa.Connection, served: ServedRelease) -> list[dict[str, Any]]:
        return read_table_rows(db, served, table, key, CHUNK_ROWS, after)

    def look_up(lookup: Lookup) -> list[dict[str, Any]]:
        return lookup.read(read)

    return look_up


def _cell(value: object) -> Any:
    return cell(value, isinstance(value, list) and has_ambiguous_items(value))


def _text(rows: list[list[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
