"""Checks every request first: keys, limits, HEAD, metrics, and errors as problem+json.

Plain ASGI, since a framework's middleware would take longer than a lookup.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote_to_bytes

from batch_predictions.serving.http.access import required_scope, wrong_key_limiter
from batch_predictions.serving.http.problems import (
    BODY_TOO_LARGE,
    WRONG_ENCODING,
    WRONG_KEY,
    ProblemError,
    fault,
    problem_of,
)
from batch_predictions.serving.http.service import PredictionService

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
CLIENT = "batch_predictions.client"
"""Where a request's scope names its key, or its address, for rate limits."""
ROUTE = "batch_predictions.route"
"""Where a request's scope names its route, for metrics: never the path, which has ids."""
HEADERS = "batch_predictions.headers"
_log = logging.getLogger(__name__)


class Gate:
    """Checks the key and the limits of every request, and counts all requests."""

    def __init__(self, app: App, service: PredictionService) -> None:
        self._app, self._service = app, service
        self._max_body = service.settings.http.max_body_kb << 10
        self._wrong_keys = wrong_key_limiter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers an HTTP request; messages of other kinds are passed on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        method: str = scope["method"]
        status = 0

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif method == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        try:
            headers = dict(scope["headers"])
            self._admit(scope, headers)
            if method == "HEAD":
                # A copy: the server looks at its own, and sends no body for HEAD.
                scope = {**scope, "method": "GET"}
            elif method not in ("GET", "OPTIONS"):
                receive = self._limit_body(headers, receive)
            await self._app(scope, receive, send_counted)
        except Exception as error:
            problem = self._problem(error, scope)
            if status == 0:
                await send_problem(send_counted, problem)
        finally:
            seconds = time.perf_counter() - started
            self._service.metrics.count_request(_route_of(scope), method, status, seconds)

    def _admit(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Raises ProblemError unless the client may send this request now."""
        address = (scope.get("client") or ("",))[0].encode()
        needed = required_scope(scope["method"], scope["path"])
        if needed is not None:
            # Before keys are compared: else the right one could be guessed at any speed.
            self._wrong_keys.require_token(address)
        try:
            key = self._service.access.identify(needed, headers)
        except ProblemError as error:
            if error.type is WRONG_KEY:
                self._wrong_keys.take(address)
            raise
        scope[CLIENT], scope[HEADERS] = key or address, headers
        if needed is not None:
            self._service.limiter.take(scope[CLIENT])
        target = scope["raw_path"] + b"?" + scope["query_string"]
        if b"%" in target:
            _require_utf8(target)

    def _limit_body(self, headers: dict[bytes, bytes], receive: Receive) -> Receive:
        """Wraps the reading of a body so that it raises an error beyond the size limit."""
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body:
            raise _too_large(self._max_body)
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body:
                raise _too_large(self._max_body)
            return message

        return receive_limited

    @staticmethod
    def _problem(error: Exception, scope: Scope) -> ProblemError:
        problem = problem_of(error)
        if problem is None:
            _log.error("fault in %s %s", scope["method"], _route_of(scope), exc_info=error)
            return fault()
        return problem


async def send_problem(send: Send, problem: ProblemError) -> None:
    """Sends a problem as the answer."""
    headers = problem.raw_headers
    await send({"type": "http.response.start", "status": problem.type.status, "headers": headers})
    await send({"type": "http.response.body", "body": problem.body})


def _route_of(scope: Scope) -> str:
    """The address of a request without its ids; `other` where it has no route."""
    return scope.get(ROUTE) or str(getattr(scope.get("route"), "path_format", "other"))


def _require_utf8(target: bytes) -> None:
    """Refuses an address of which bytes would be replaced by others, so that two ids were one."""
    try:
        unquote_to_bytes(target).decode()
    except UnicodeDecodeError:
        raise ProblemError(WRONG_ENCODING, "It has bytes that are no UTF-8.") from None


def _too_large(limit: int) -> ProblemError:
    return ProblemError(BODY_TOO_LARGE, f"At most {limit:,} bytes.")
