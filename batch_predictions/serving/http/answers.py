"""Answers of the routes as JSON, with entity tags and caching, and as CSV.

A client that has the answer already gets 304 (RFC 9110, If-None-Match).
"""

from __future__ import annotations

import csv
import hashlib
import io
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import orjson
import sqlalchemy as sa
from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from batch_predictions.core.csv_text import cell, has_ambiguous_items, without_formula
from batch_predictions.serving.http.current_release import CurrentRelease
from batch_predictions.serving.http.problems import ProblemError
from batch_predictions.serving.http.recommendation_answers import make_recommendation_id
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.lookup.rows import key_of_row, read_table_rows
from batch_predictions.serving.store.snapshot import ServedRelease


def etag_of(content: bytes) -> bytes:
    """The weak entity tag of an answer's text without its age.

    It is weak since `age_seconds` differs between answers of one tag.
    """
    return f'W/"{hashlib.blake2b(content, digest_size=16).hexdigest()}"'.encode()


def etag_matches(wanted: bytes, etag: bytes) -> bool:
    """Returns whether If-None-Match names a tag; weak and strong tags are compared alike."""
    tags = [tag.strip().removeprefix(b"W/") for tag in wanted.split(b",")]
    return b"*" in tags or etag.removeprefix(b"W/") in tags


_TIMES_IN_UTC = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z


def to_json(value: object) -> bytes:
    """A value as JSON; times as RFC 3339, in UTC."""
    return orjson.dumps(value, option=_TIMES_IN_UTC)


def answer(
    request: Request,
    release: CurrentRelease,
    source: str,
    content: Mapping[str, object],
    rows: Sequence[Mapping[str, object]] = (),
    *,
    is_fixed: bool = True,
    etag: bytes | None = None,
    now: float | None = None,
) -> Response:
    """Makes a JSON answer with the keys that all answers have, or 304 if the client has it.

    Args:
        request: the request.
        release: the release of `content`.
        source: the table that it is from.
        content: the other keys.
        rows: whose first names the model's version; none: the release does.
        is_fixed: whether it stays the same as long as the release does.
        etag: its entity tag; None: that of its text without its age.
        now: when it is made, in seconds since 1970; None: now.
    """
    version = rows[0].get("model_version") if rows else None
    head = {
        "release_id": release.served.release_id,
        "as_of": release.served.day_of(source).isoformat(),
    }
    tail = {
        "source": source,
        "model_version": version or release.model_version(source),
        "recommendation_id": id_of_request(request, release.served.release_id),
        **content,
    }
    head_text = to_json(head)[:-1] + b',"age_seconds":'
    tail_text = b"," + to_json(tail)[1:]
    now = time.time() if now is None else now
    body = b"%b%d%b" % (head_text, release.age_seconds(now, source), tail_text)
    etag = etag or etag_of(head_text + tail_text)
    return conditional_response(request, release, body, etag, now, is_fixed=is_fixed)


def conditional_response(
    request: Request,
    release: CurrentRelease,
    body: bytes,
    etag: bytes,
    now: float,
    *,
    is_fixed: bool = True,
) -> Response:
    """Makes a response of a JSON text and its entity tag, or 304 if the client has it.

    Args:
        request: the request, whose If-None-Match is compared with the tag.
        release: the release of the body.
        body: the JSON text.
        etag: the body's entity tag, in quotes.
        now: seconds since 1970.
        is_fixed: whether the answer stays the same as long as the release does; otherwise clients
            have to ask again each time.
    """
    control = release.cache_control(now).decode() if is_fixed else "private, no-cache"
    headers = {"etag": etag.decode(), "cache-control": control}
    wanted = request.headers.get("if-none-match")
    if request.method == "GET" and wanted and etag_matches(wanted.encode("latin-1"), etag):
        return Response(status_code=304, headers=headers)
    headers["x-content-type-options"] = "nosniff"
    return Response(body, media_type="application/json", headers=headers)


def id_of_request(request: Request, release_id: str, body: bytes = b"") -> str:
    """Computes an answer's recommendation_id from the release, the address and parameters.

    Args:
        request: the request.
        release_id: the release of the answer.
        body: of the request, where it has one.

    Returns:
        The release's id, a hyphen and 24 hexadecimal digits.
    """
    parameters = sorted(request.query_params.multi_items())
    text = orjson.dumps([release_id, request.url.path, parameters])
    return make_recommendation_id(release_id, text + body)


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
