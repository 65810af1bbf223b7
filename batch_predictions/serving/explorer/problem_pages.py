"""Problems of the explorer's addresses as pages, and not as JSON."""

from __future__ import annotations

import orjson

from batch_predictions.serving.explorer.rendering import HEADERS, PREFIX, render
from batch_predictions.serving.http.problems import CONTENT_TYPE
from batch_predictions.serving.http.request_gate import App, Message, Receive, Scope, Send

_REPLACED = {b"content-type", b"content-length", *(name.encode() for name in HEADERS)}


class ProblemPages:
    """Turns answers of problem+json to the explorer's addresses into pages.

    It is in front of the gate, so that what the gate refuses (a missing key, too many requests) is
    a page too. Status and other headers stay.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request by the application behind it."""
        if scope["type"] != "http" or not _is_explorer(scope["path"]):
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        body = b""

        async def send_page(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and _is_problem(message):
                start = message
                return
            if start is None:
                await send(message)
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                await _send(send, start, body)

        await self._app(scope, receive, send_page)


def _is_explorer(path: str) -> bool:
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def _is_problem(message: Message) -> bool:
    return (b"content-type", CONTENT_TYPE.encode()) in message["headers"]


async def _send(send: Send, start: Message, body: bytes) -> None:
    # An answer to HEAD has no body.
    text = render("problem.html", problem=orjson.loads(body)).encode() if body else b""
    headers = [(name, value) for name, value in start["headers"] if name not in _REPLACED]
    headers += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    headers.append((b"content-type", b"text/html; charset=utf-8"))
    if text:
        headers.append((b"content-length", b"%d" % len(text)))
    await send({**start, "headers": headers})
    await send({"type": "http.response.body", "body": text})
