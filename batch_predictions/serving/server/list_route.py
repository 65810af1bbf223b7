"""`GET /v1/recommendations/{user_id}` in front of FastAPI, which would take most of its time.

It answers requests whose parameters are plainly right. All others, and errors of parameters, are
left to the FastAPI route of the same address (`recommendation_routes.py`), which documents it.
"""

from __future__ import annotations

import time
from urllib.parse import parse_qsl

from batch_predictions.serving.http.answers import etag_matches
from batch_predictions.serving.http.current_release import CurrentRelease
from batch_predictions.serving.http.recommendation_answers import (
    DEFAULT_K,
    MAX_FILTER_VALUES,
    MAX_K,
    ListRequest,
    ReadyAnswer,
)
from batch_predictions.serving.http.request_gate import HEADERS, ROUTE, App, Receive, Scope, Send
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.tables.identifiers import id_problem
from batch_predictions.tables.segments import ATTRIBUTES

PREFIX = "/v1/recommendations/"
PATH = PREFIX + "{user_id}"
ANSWER_BYTES = 500
"""Memory of a ready answer beside its text, roughly."""


class ListRoute:
    """Answers lists of single users, from memory where it can."""

    def __init__(self, app: App, service: PredictionService) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or passes it on."""
        if scope["type"] == "http" and scope["method"] == "GET":
            path: str = scope["path"]
            if path.startswith(PREFIX):
                query: bytes = scope["query_string"]
                current = self._service.watcher.current
                kept = current.answers.get((path, query)) if current else None
                if kept is not None and current is not None:
                    await self._send(scope, send, ReadyAnswer(*kept), current)
                    return
                request = self._parse(path, query)
                if request is not None:
                    answers, release = await self._service.recommend([request])
                    ready = answers[0]
                    if ready.is_fixed:
                        size = len(ready.head) + len(ready.tail) + ANSWER_BYTES
                        # Plain tuples of bytes are not searched for cycles.
                        release.answers.put((path, query), tuple(ready), size)
                    await self._send(scope, send, ready, release)
                    return
        await self._app(scope, receive, send)

    def _parse(self, path: str, query: bytes) -> ListRequest | None:
        """The request; None if anything in it is unusual."""
        user_id = path.removeprefix(PREFIX)
        try:
            pairs = parse_qsl(query.decode("ascii"), True, max_num_fields=MAX_FILTER_VALUES)
        except ValueError:
            return None
        k, exclude, categories = str(DEFAULT_K), set(), set()
        attributes: dict[str, str | None] = dict.fromkeys(ATTRIBUTES)
        for name, value in pairs:
            if name == "k":
                k = value
            elif name == "exclude":
                exclude.add(self._service.ids.normalise("item_id", value))
            elif name == "category":
                categories.add(value.casefold())
            elif name in attributes and attributes[name] is None:
                attributes[name] = value
            else:
                return None
        texts = [user_id, *exclude, *categories, *filter(None, attributes.values())]
        if not (k.isascii() and k.isdigit() and len(k) < 4 and 1 <= int(k) <= MAX_K):
            return None
        if not user_id or any(map(id_problem, texts)):
            return None
        return ListRequest(
            user_id=self._service.ids.normalise("user_id", user_id),
            attributes=attributes,
            k=int(k),
            exclude=frozenset(exclude),
            categories=frozenset(categories),
        )

    async def _send(
        self, scope: Scope, send: Send, ready: ReadyAnswer, release: CurrentRelease
    ) -> None:
        scope[ROUTE] = PATH
        self._service.metrics.count_list(ready.source)
        now = time.time()
        control = release.cache_control(now) if ready.is_fixed else b"private, no-cache"
        headers = [(b"etag", ready.etag), (b"cache-control", control)]
        wanted = scope[HEADERS].get(b"if-none-match")
        if wanted is not None and etag_matches(wanted, ready.etag):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body"})
            return
        body = ready.body(release, now)
        headers += [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
