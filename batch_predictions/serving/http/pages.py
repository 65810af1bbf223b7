"""Pages of a table's rows, and their tokens: every page of one walk is of one release."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from batch_predictions.serving.http.current_release import CurrentRelease
from batch_predictions.serving.http.problems import WRONG_PAGE_TOKEN, WRONG_REQUEST, ProblemError
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.lookup.rows import key_of_row, read_table_rows
from batch_predictions.serving.store.snapshot import ServedRelease


@dataclass(frozen=True)
class PagePosition:
    """The place in a release's rows at which a page begins.

    Attributes:
        release_id: the release of the first page, which all pages are of; None: the current one.
        after: values of the key behind which it begins, or the number of rows before it.
    """

    release_id: str | None = None
    after: tuple[Any, ...] | None = None


def encode_token(position: PagePosition, what: str, parameters: Mapping[str, object]) -> str:
    """Encodes a position as the token of the next page.

    Args:
        position: with a release.
        what: the address that it continues.
        parameters: those of the request, which the next one must repeat.
    """
    parts = [position.release_id, _fingerprint(what, parameters), position.after]
    return base64.urlsafe_b64encode(orjson.dumps(parts)).rstrip(b"=").decode()


def decode_token(token: str | None, what: str, parameters: Mapping[str, object]) -> PagePosition:
    """Decodes a page token into its position; None is the beginning.

    Args:
        token: as the client sends it; None: the first page.
        what: the address that the token has to continue.
        parameters: those of the request, which the token has to repeat.

    Raises:
        ProblemError: it is no token, or one of another address or other parameters.
    """
    if token is None:
        return PagePosition()
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
        release_id, fingerprint, after = orjson.loads(text)
    except (binascii.Error, ValueError, TypeError):
        raise ProblemError(WRONG_PAGE_TOKEN, "page_token cannot be read.") from None
    is_list = isinstance(after, list) and all(isinstance(v, str | int | float) for v in after)
    # No database has texts with zero bytes.
    if not (isinstance(release_id, str) and is_list) or "\0" in f"{release_id}{after}":
        raise ProblemError(WRONG_PAGE_TOKEN, "page_token cannot be read.")
    if fingerprint != _fingerprint(what, parameters):
        raise ProblemError(WRONG_PAGE_TOKEN, "page_token is of another address or parameters.")
    return PagePosition(release_id, tuple(after))


def _fingerprint(what: str, parameters: Mapping[str, object]) -> str:
    text = orjson.dumps([what, sorted(parameters.items())], default=str)
    return hashlib.blake2b(text, digest_size=6).hexdigest()


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
