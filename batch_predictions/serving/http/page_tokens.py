"""Page tokens: where the next page begins, and of which release. Opaque to clients."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from batch_predictions.serving.http.problems import WRONG_PAGE_TOKEN, ProblemError

MAX_TOKEN_CHARACTERS = 4_096


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
