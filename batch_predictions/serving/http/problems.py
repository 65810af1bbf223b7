"""Errors as clients get them: problem+json (RFC 9457), each with what to do."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass

import orjson
import sqlalchemy as sa

from batch_predictions.core.read_only import StoreError
from batch_predictions.core.redaction import redact
from batch_predictions.serving.lookup import NoReleaseError, NotPublishedError
from batch_predictions.serving.store.pointer import ReleaseError, ReleaseRemovedError
from batch_predictions.sources.posted_rows.writer import WritesBusyError, WritesUnavailableError

CONTENT_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProblemType:
    """A kind of error.

    Attributes:
        name: the last part of its address, `/problems/NAME`; it stays.
        status: HTTP status.
        title: what is wrong, the same for every occurrence.
        remedy: what to do.
    """

    name: str
    status: int
    title: str
    remedy: str


NO_RELEASE = ProblemType(
    "no-release",
    503,
    "Nothing has been released yet",
    "Run `batch-predictions run` on the machine of the pipeline; the service finds the release.",
)
STORE_UNAVAILABLE = ProblemType(
    "store-unavailable",
    503,
    "The serving store cannot be read",
    "Repeat the request after Retry-After seconds; the log of the service says what is wrong.",
)
RELEASE_TOO_OLD = ProblemType(
    "release-too-old",
    503,
    "The current release is older than http.max_age_hours",
    "Find out why `batch-predictions run` has published nothing since; lookups still answer.",
)
INCOMPLETE_RELEASE = ProblemType(
    "incomplete-release",
    503,
    "The current release lacks a table that the answer needs",
    "Publish it again, with `batch-predictions run --force`.",
)
NOT_PUBLISHED = ProblemType(
    "not-published",
    404,
    "The current release has no such table, or the table no such column",
    "See GET /v1/predictions for the tables of the release and their columns.",
)
NOT_PREDICTED = ProblemType(
    "not-predicted",
    404,
    "The current release has no prediction of this",
    "Check the id; predictions.exclusions in the warehouse says why something has no prediction.",
)
NOT_HTTP = ProblemType(
    "not-http",
    400,
    "The request is not valid HTTP/1.1",
    "Use a library for HTTP; the service does not speak TLS, which needs a proxy in front of it.",
)
WRONG_ENCODING = ProblemType(
    "wrong-encoding",
    400,
    "The address is not valid UTF-8",
    "Write ids and parameters as UTF-8, and percent-encode that.",
)
HEAD_TOO_LARGE = ProblemType(
    "head-too-large",
    431,
    "The address and headers of the request are too large",
    "Send many users or filters in a batch: POST /v1/recommendations:batch.",
)
NOT_FOUND = ProblemType(
    "not-found", 404, "There is no such address", "See GET /openapi.json for all of them."
)
WRONG_METHOD = ProblemType(
    "wrong-method",
    405,
    "The address does not take this method",
    "The header Allow has the methods it takes; see GET /openapi.json.",
)
RELEASE_REMOVED = ProblemType(
    "release-removed",
    410,
    "The release of this page token has been removed",
    "Ask for the first page again, without page_token: it is of the current release.",
)
WRONG_REQUEST = ProblemType(
    "wrong-request",
    422,
    "A parameter or the body is not valid",
    "Correct what `errors` names; see GET /openapi.json.",
)
WRONG_PAGE_TOKEN = ProblemType(
    "wrong-page-token",
    422,
    "The page token is not one of this address",
    "Send page_token as the answer before had it in next_page_token, with the same parameters.",
)
NO_KEY = ProblemType(
    "no-key",
    401,
    "The request has no API key",
    "Send the header `Authorization: Bearer KEY`, or `X-API-Key: KEY`.",
)
WRONG_KEY = ProblemType(
    "wrong-key",
    401,
    "The API key is not valid",
    "Use a key of the service's variables BATCH_PREDICTIONS_HTTP_…_KEYS.",
)
MISSING_SCOPE = ProblemType(
    "missing-scope",
    403,
    "The API key does not allow this",
    "Use a key of the scope that `detail` names, or an admin key.",
)
TOO_MANY_REQUESTS = ProblemType(
    "too-many-requests",
    429,
    "Too many requests",
    "Wait for Retry-After seconds; the limit is the setting http.requests_per_second.",
)
TOO_MANY_WRONG_KEYS = ProblemType(
    "too-many-wrong-keys",
    429,
    "Too many wrong API keys came from this address",
    "Wait for Retry-After seconds, and find out who sends them; until then no key is looked at.",
)
BODY_TOO_LARGE = ProblemType(
    "body-too-large",
    413,
    "The body of the request is too large",
    "Send smaller batches; the limit is the setting http.max_body_kb.",
)
WRITES_UNAVAILABLE = ProblemType(
    "writes-unavailable",
    503,
    "What was sent cannot be stored now",
    "Send the same request again after Retry-After seconds; the log of the service says what is "
    "wrong. Lookups still answer.",
)
WRITES_BUSY = ProblemType(
    "writes-busy",
    503,
    "Too many rows wait to be stored",
    "Send the same request again after Retry-After seconds.",
)
WRONG_HOST = ProblemType(
    "wrong-host",
    421,
    "A service without API keys answers only as localhost",
    "Call it as http://127.0.0.1:PORT, set API keys, or set http.allow_without_keys.",
)
NO_PLACE_FOR_WRITES = ProblemType(
    "no-place-for-writes",
    409,
    "The service reads release files, and has no place for what it is sent",
    "Set serving.posted_url to a PostgreSQL database that the pipeline reads too, or send the "
    "request to the service on the machine of the pipeline.",
)
ERASED = ProblemType(
    "erased",
    409,
    "The user was erased",
    "Rows of the user are not accepted; give a person who comes back another id.",
)
NO_HOME = ProblemType(
    "no-home",
    409,
    "The service has no home folder to change",
    "Send the request to the service on the machine of the pipeline, or run "
    "`batch-predictions erase-user` there.",
)
PAGES_BUSY = ProblemType(
    "pages-busy",
    503,
    "Too many pages are being made",
    "Open the page again after Retry-After seconds.",
)
PAGE_FAILED = ProblemType(
    "page-failed",
    503,
    "The page could not be made",
    "Run `batch-predictions report --page NAME` on the machine of the home: it says why.",
)
FAULT = ProblemType(
    "fault",
    500,
    "The service has a fault",
    "Report it with the service's log of this moment.",
)
PROBLEM_TYPES = {
    value.name: value for value in list(globals().values()) if isinstance(value, ProblemType)
}
RETRY_SECONDS = 1
LOG_SECONDS = 5.0
_logged_at = -LOG_SECONDS


class ProblemError(Exception):
    """An error for the client."""

    def __init__(
        self,
        type_: ProblemType,
        detail: str,
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        """Takes the kind of error, this occurrence in words, and further headers and members."""
        super().__init__(detail)
        self.type, self.detail, self.members = type_, detail, members
        self.headers = dict(headers or {})

    @property
    def body(self) -> bytes:
        """The JSON text of the answer."""
        return orjson.dumps(
            {
                "type": f"/problems/{self.type.name}",
                "title": self.type.title,
                "status": self.type.status,
                "detail": redact(self.detail),
                "what_to_do": self.type.remedy,
                **self.members,
            }
        )

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """All headers of the answer, for ASGI."""
        headers = {
            "content-type": CONTENT_TYPE,
            "content-length": str(len(self.body)),
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            **self.headers,
        }
        return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def problem_of(error: BaseException) -> ProblemError | None:
    """The client's problem for an error of a lookup; None for a fault of the program.

    Errors of the store name its file or server: they are logged, and the client gets none of it.
    """
    if isinstance(error, WritesBusyError):
        text = "Too many rows wait to be written."
        return ProblemError(WRITES_BUSY, text, {"retry-after": "1"})
    if isinstance(error, WritesUnavailableError):
        text = "Nothing of this request was stored."
        return ProblemError(WRITES_UNAVAILABLE, text, {"retry-after": "5"})
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, NoReleaseError):
        return no_release()
    if isinstance(error, NotPublishedError):
        return ProblemError(NOT_PUBLISHED, str(error))
    if isinstance(error, ReleaseRemovedError):
        return ProblemError(RELEASE_REMOVED, str(error))
    if isinstance(error, ReleaseError):
        return ProblemError(INCOMPLETE_RELEASE, str(error))
    if isinstance(error, StoreError | sa.exc.SQLAlchemyError | sqlite3.Error):
        _log_store_error(error)
        return store_unavailable()
    return None


def _log_store_error(error: Exception) -> None:
    """Logs an error at most once in `LOG_SECONDS`: every request may meet it."""
    global _logged_at
    now = time.monotonic()
    if now - _logged_at >= LOG_SECONDS:
        _logged_at = now
        _log.error("the serving store cannot be read: %s", " ".join(str(error).split())[:500])


def fault() -> ProblemError:
    """Makes the error for a fault of the program, of which the client gets no detail."""
    return ProblemError(FAULT, "An unexpected error ended the request.")


def no_release() -> ProblemError:
    """Makes the error for a store in which nothing has been released yet."""
    return ProblemError(
        NO_RELEASE,
        "The store has no release: run `batch-predictions run` first.",
        {"retry-after": str(RETRY_SECONDS)},
    )


def store_unavailable() -> ProblemError:
    """Makes the error for a store that cannot be read now."""
    return ProblemError(
        STORE_UNAVAILABLE,
        "The serving store does not answer.",
        {"retry-after": str(RETRY_SECONDS)},
    )
