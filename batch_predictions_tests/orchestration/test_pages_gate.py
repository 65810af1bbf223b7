"""The gate before Dagster's pages lets their own requests pass, not those of other sites."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from batch_predictions.orchestration.pages_gate import PagesGate

HOST = "127.0.0.1:3000"
JSON = {"content-type": "application/json"}
OWN = {"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}
LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
IMAGE = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}


def ask(
    method: str,
    path: str,
    headers: dict[str, str],
    hosts: tuple[str, ...] = (),
    kind: str = "http",
) -> tuple[bool, list[dict[str, Any]]]:
    """Whether a request passed the gate, and what the gate itself sent."""
    passed, sent = [], []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        passed.append(scope)

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in ({"host": HOST} | headers).items()]
    scope = {"type": kind, "method": method, "path": path, "headers": pairs}
    asyncio.run(PagesGate(app, hosts)(scope, receive, send))
    assert bool(passed) != bool(sent)
    return bool(passed), sent


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/", {}),
        ("GET", "/assets/raw/users", LINK),
        ("GET", "/graphql", {"accept": "text/html,*/*"}),
        ("POST", "/graphql", OWN | JSON),
        ("POST", "/graphql", {"content-type": "application/json; charset=utf-8"}),
        ("POST", "/graphql", {"host": "localhost:3000"} | JSON),
        ("POST", "/graphql", {"host": "[::1]:3000"} | JSON),
        ("POST", "/dagster/graphql", OWN | JSON),
        ("GET", "/server_info", {}),
        ("POST", "/report_asset_materialization/a", {}),
    ],
)
def test_what_passes(method: str, path: str, headers: dict[str, str]) -> None:
    assert ask(method, path, headers) == (True, [])


@pytest.mark.parametrize(
    ("method", "path", "headers", "words"),
    [
        ("GET", "/", {"host": "rebound.example:3000"}, "--allow-host rebound.example"),
        ("GET", "/", {"host": ""}, "--allow-host NAME"),
        ("GET", "/", {"host": "127.0.0.1.evil.example"}, "do not answer"),
        ("GET", "/graphql", IMAGE, "another site"),
        ("GET", "/graphql", LINK | {"accept": "text/html"}, "another site"),
        ("GET", "/graphql", {"accept": "image/*"}, "GraphQL takes POST"),
        ("POST", "/graphql", {"content-type": "text/plain"}, "GraphQL takes POST"),
        ("POST", "/graphql", {"content-type": "text/plain; application/json"}, "takes POST"),
        ("POST", "/graphql", {"content-type": "application/x-www-form-urlencoded"}, "takes POST"),
        ("POST", "/graphql", {}, "GraphQL takes POST"),
        ("PUT", "/graphql", JSON, "GraphQL takes POST"),
        ("POST", "/graphql", {"origin": "https://evil.example"} | JSON, "page of https://evil"),
        ("POST", "/graphql", {"origin": "http://127.0.0.1:8888"} | JSON, "page of http://127"),
        ("POST", "/graphql", {"origin": "null"} | JSON, "page of null"),
        ("POST", "/report_asset_check/a", {"origin": "https://evil.example"}, "page of"),
        ("POST", "/report_asset_check/a", {"sec-fetch-site": "same-site"}, "another site"),
        ("POST", "/logs", LINK, "another site"),
    ],
)
def test_what_is_refused(method: str, path: str, headers: dict[str, str], words: str) -> None:
    passed, sent = ask(method, path, headers)
    assert not passed and sent[0]["status"] == 403
    assert words in sent[1]["body"].decode()


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        (OWN, True),
        ({}, True),
        ({"origin": "https://evil.example"}, False),
        ({"host": "evil.example", "origin": "http://evil.example"}, False),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "websocket"}, False),
    ],
)
def test_web_sockets_are_judged_alike(headers: dict[str, str], passes: bool) -> None:
    passed, sent = ask("GET", "/graphql", headers, kind="websocket")
    assert passed == passes
    assert passes or (sent[0]["type"], sent[0]["code"]) == ("websocket.close", 1008)


def test_a_proxy_has_a_name_of_its_own() -> None:
    name = "Dagster.shop.example"
    headers = {"host": name.lower(), "origin": f"https://{name}"} | JSON
    assert ask("POST", "/graphql", headers)[0] is False
    assert ask("POST", "/graphql", headers, (name,))[0] is True
    # Its pages, where the proxy does not pass the header Host on.
    assert ask("POST", "/graphql", headers | {"host": HOST}, (name,))[0] is True
    other = headers | {"origin": "https://evil.example"}
    assert ask("POST", "/graphql", other, (name,))[0] is False
    assert ask("GET", "/", {"host": "whatever"}, ("*",))[0] is True


def test_a_header_that_is_sent_twice_is_neither_of_both() -> None:
    passed = []

    async def app(*arguments: Any) -> None:
        passed.append(arguments)

    async def nothing(*_: Any) -> Any:
        return {}

    pairs = [(b"host", HOST.encode()), (b"host", b"evil.example")]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": pairs}
    asyncio.run(PagesGate(app)(scope, nothing, nothing))
    assert not passed
