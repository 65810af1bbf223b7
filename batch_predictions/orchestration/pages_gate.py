"""Stands before Dagster's pages, so that pages of other sites cannot use them through a browser.

Dagster asks for no password and takes changes by GET, by a form and over WebSocket, from whatever
page sends them. The gate checks the names under which it is called (DNS rebinding), where a request
comes from (`Origin`, `Sec-Fetch-Site`), and lets GraphQL in as JSON only. It does not check who
calls: that is left to loopback, an SSH tunnel or a proxy.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from batch_predictions.serving.http.access import is_loopback
from batch_predictions.serving.http.request_gate import App, Receive, Scope, Send

ANY_HOST = "*"
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^\s,:/@\[\]]+)(:\d+)?")
_GRAPHQL = "/graphql"
_JSON = "application/json"


class PagesGate:
    """An ASGI app that refuses requests of other sites and passes the others on.

    Args:
        app: Dagster's web server.
        hosts: names, besides those of loopback, under which it is called; `*`: any.
    """

    def __init__(self, app: App, hosts: Collection[str] = ()) -> None:
        self._app, self._hosts = app, {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 403 with the reason, or passes the request on."""
        problem = None
        if scope["type"] in ("http", "websocket"):
            problem = self._find_problem(scope)
        if problem is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": problem})
        else:
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"vary", b"origin")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": f"{problem}\n".encode()})

    def _find_problem(self, scope: Scope) -> str | None:
        """Says why a request is refused; None: it is not."""
        headers = _headers_of(scope["headers"])
        host = headers.get("host", "").lower()
        match = _HOST.fullmatch(host)
        name = match["name"].strip("[]") if match else ""
        if not (is_loopback(name) or {name, ANY_HOST} & self._hosts):
            return (
                f"These pages do not answer under the name {name or '(none)'}: start them with "
                f"--allow-host {name or 'NAME'} if it is theirs."
            )
        origin = headers.get("origin", "").lower()
        _, _, address = origin.partition("://")
        sender = _HOST.fullmatch(address)
        is_known = sender is not None and sender["name"] in self._hosts
        if origin and address != host and not is_known:
            return (
                f"This request comes from a page of {origin}, not of {host}. Behind a proxy, let "
                "it pass the header Host on, or start the pages with --allow-host NAME."
            )
        method = scope.get("method", "GET")
        is_graphql = scope["path"].rstrip("/").endswith(_GRAPHQL)
        is_link = (
            scope["type"] == "http"
            and method in ("GET", "HEAD")
            and headers.get("sec-fetch-mode") == "navigate"
            and headers.get("sec-fetch-dest") == "document"
            and not is_graphql
        )
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not is_link:
            return "This request comes from a page of another site."
        if scope["type"] == "http" and is_graphql:
            return _find_graphql_problem(method, headers)
        return None


def _find_graphql_problem(method: str, headers: dict[str, str]) -> str | None:
    """Says why a request to GraphQL is refused: a form and a link can send no JSON."""
    if method == "POST":
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        return None if media_type == _JSON else f"GraphQL takes POST with Content-Type: {_JSON}."
    # The page to try queries on is no query.
    if method in ("GET", "HEAD") and "text/html" in headers.get("accept", ""):
        return None
    return f"GraphQL takes POST with Content-Type: {_JSON}."


def _headers_of(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by lower-case name; one that is sent twice has both values, and equals neither."""
    headers: dict[str, str] = {}
    for key, value in pairs:
        name, text = key.decode("latin-1").lower(), value.decode("latin-1").strip()
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return headers
