"""Keys, scopes, limits, hosts, CORS; and no key or password in an answer, a log or a metric."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from batch_predictions.serving.http import request_gate
from batch_predictions.serving.http.access import (
    AccessControl,
    RateLimiter,
    is_loopback,
    required_scope,
)
from batch_predictions.serving.http.problems import TOO_MANY_WRONG_KEYS, ProblemError
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.server.http_app import make_api
from batch_predictions.serving.store.store import Store
from batch_predictions.settings import HttpSettings, Settings, SettingsError, shareable_variables
from batch_predictions_tests.worlds.http_service import Client, publish_all, running_service
from batch_predictions_tests.worlds.postgres import empty_postgres
from batch_predictions_tests.worlds.serving import ServingWorld, open_world

READ, OTHER_READ = "read-0123456789abcdef0", "read-fedcba98765432100"
WRITE, ADMIN = "write-0123456789abcdef", "admin-0123456789abcdef"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of every scope in the environment."""
    monkeypatch.setenv("BATCH_PREDICTIONS_HTTP_READ_KEYS", f"{READ}, {OTHER_READ}")
    monkeypatch.setenv("BATCH_PREDICTIONS_HTTP_WRITE_KEYS", WRITE)
    monkeypatch.setenv("BATCH_PREDICTIONS_HTTP_ADMIN_KEYS", ADMIN)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingWorld]:
    """A home with a release of every table, in SQLite; tests only read."""
    world = open_world(tmp_path_factory.mktemp("http") / "home")
    publish_all(world)
    yield world
    world.store.close()


def with_http(world: ServingWorld, **http: Any) -> Settings:
    return Settings(
        home=world.settings.home, serving=world.settings.serving, http=HttpSettings(**http)
    )


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def operations(world: ServingWorld) -> list[tuple[str, str]]:
    """Method and an address of every operation."""
    schema = make_api(PredictionService(world.settings)).openapi()
    values = {"table": "churn_scores", "key": "u1", "campaign_id": "spring", "item_id": "a1"}
    values |= {"user_id": "u1", "name": "no-key"}
    return [
        (method.upper(), path.format(**values))
        for path, methods in schema["paths"].items()
        for method in methods
    ]


@pytest.mark.usefixtures("keys")
def test_every_address_with_data_needs_a_key_of_its_scope(shop: ServingWorld) -> None:
    routes = operations(shop)
    assert len(routes) >= 15
    with running_service(shop.settings) as client:
        for method, path in routes:
            body = {"users": [{"user_id": "u1"}]} if method == "POST" else None
            if required_scope(method, path) in ("write", "admin"):
                continue  # see test_writes.py and test_erasure.py
            is_open = path in ("/healthz", "/readyz") or path.startswith("/problems/")
            reply = client.send(method, path, body)
            assert reply.status == (200 if is_open else 401), path
            for headers, status in (
                (bearer(READ), 200),
                ({"X-API-Key": OTHER_READ}, 200),
                (bearer(ADMIN), 200),
                (bearer(WRITE), 200 if is_open else 403),
                (bearer("nope-0123456789abcdef"), 200 if is_open else 401),
            ):
                assert client.send(method, path, body, headers).status == status, (path, headers)
        reply = client.get("/v1/orders")
        assert reply.json["type"] == "/problems/no-key" and "Bearer" in reply.json["what_to_do"]
        assert reply.headers["www-authenticate"].startswith("Bearer")
        reply = client.get("/v1/orders", bearer(WRITE))
        assert reply.json["detail"] == "This needs a key of the scope read."


def test_what_changes_something_needs_another_scope_than_what_reads() -> None:
    assert required_scope("GET", "/v1/users/1") == "read"
    assert required_scope("HEAD", "/v1/users/1") == "read"
    assert required_scope("POST", "/v1/recommendations:batch") == "read"
    assert required_scope("PUT", "/v1/users/1") == "write"
    assert required_scope("POST", "/v1/events") == "write"
    assert required_scope("DELETE", "/v1/users/1") == "admin"
    assert required_scope("GET", "/metrics") == "read"
    assert required_scope("GET", "/anything/new") == "read"
    assert required_scope("GET", "/healthz") is None
    access = AccessControl({"write": [WRITE], "admin": [ADMIN]})
    assert access.identify("write", {b"x-api-key": WRITE.encode()})
    assert access.identify("admin", {b"authorization": f"bearer  {ADMIN}".encode()})
    for scope, key in (("read", WRITE), ("admin", WRITE)):
        with pytest.raises(ProblemError, match=f"scope {scope}"):
            access.identify(scope, {b"x-api-key": key.encode()})  # type: ignore[arg-type]


def test_a_key_may_have_several_scopes() -> None:
    access = AccessControl({"read": [READ], "write": [READ]})
    for scope in ("read", "write"):
        assert access.identify(scope, {b"x-api-key": READ.encode()})


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("shop.example", False),
        ("127.0.0.1.example", False),
        ("", False),
    ],
)
def test_only_loopback_goes_without_keys(host: str, local: bool) -> None:
    assert is_loopback(host) is local
    if local:
        AccessControl({}).require_bindable(host)
    else:
        with pytest.raises(SettingsError, match="BATCH_PREDICTIONS_HTTP_READ_KEYS"):
            AccessControl({}).require_bindable(host)
        AccessControl({}, any_host=True).require_bindable(host)
        AccessControl({"read": [READ]}).require_bindable(host)


def test_a_short_key_is_refused_without_quoting_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_PREDICTIONS_HTTP_WRITE_KEYS", f"{WRITE},short-one")
    with pytest.raises(SettingsError, match="HTTP_WRITE_KEYS has a key of fewer") as caught:
        AccessControl.from_environment()
    assert "short-one" not in str(caught.value)


def test_a_page_of_another_site_cannot_ask_an_open_service(shop: ServingWorld) -> None:
    """Its name may lead to 127.0.0.1 (DNS rebinding), but the browser sends that name."""
    with running_service(shop.settings) as client:
        for host in ("localhost", "localhost:80", f"127.0.0.1:{client.port}", "[::1]:8080"):
            assert client.get("/v1/orders", {"Host": host}).status == 200, host
        for host in ("evil.example", "evil.example:8080", "localhost.evil.example", "[::2]"):
            reply = client.get("/v1/orders", {"Host": host})
            assert (reply.status, reply.json["type"]) == (421, "/problems/wrong-host"), host
        assert client.get("/healthz", {"Host": "10.0.0.7"}).status == 200
    with running_service(with_http(shop, allow_without_keys=True)) as client:
        assert client.get("/v1/orders", {"Host": "shop.example"}).status == 200


@pytest.mark.usefixtures("keys")
def test_requests_are_limited_by_key(shop: ServingWorld) -> None:
    with running_service(with_http(shop, requests_per_second=5)) as client:
        assert client.service is not None
        _stop_the_clock(client.service.limiter)
        statuses = [client.get("/v1/recommendations/u1", bearer(READ)).status for _ in range(7)]
        assert statuses == [200] * 5 + [429] * 2
        assert client.get("/v1/recommendations/u1", bearer(OTHER_READ)).status == 200
        assert client.get("/healthz").status == 200
        reply = client.get("/v1/orders", bearer(READ))
        assert reply.headers["retry-after"] == "1"
        assert "http.requests_per_second" in reply.json["what_to_do"]
        assert READ not in reply.body.decode()
        batch = {"users": [{"user_id": f"u{n}"} for n in range(301)]}
        path = "/v1/recommendations:batch"
        assert client.send("POST", path, batch, bearer(ADMIN)).status == 200  # takes 1 + 4 tokens
        assert client.send("POST", path, batch, bearer(ADMIN)).status == 429


def _stop_the_clock(limiter: RateLimiter) -> None:
    limiter._clock = lambda: 0.0


def test_buckets_fill_up_with_time() -> None:
    now = 0.0
    limiter = RateLimiter(2.0, 4.0, lambda: now)
    for _ in range(4):
        limiter.take(b"ann")
    with pytest.raises(ProblemError) as caught:
        limiter.take(b"ann")
    assert caught.value.headers["retry-after"] == "1"
    limiter.take(b"bob", 4)
    now = 1.0
    limiter.take(b"ann", 2)
    with pytest.raises(ProblemError):
        limiter.take(b"ann")
    now = 100.0
    limiter.take(b"ann", 99)  # more than a bucket holds: a full one
    for _ in range(1000):
        RateLimiter(0.0).take(b"ann")


@pytest.mark.usefixtures("keys")
def test_no_key_is_compared_while_an_address_has_tried_too_many_wrong_ones(
    shop: ServingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the limit would not slow down who guesses: the right key would be let through."""
    now = 0.0
    limiter = RateLimiter(1.0, 20.0, lambda: now, TOO_MANY_WRONG_KEYS)
    monkeypatch.setattr(request_gate, "wrong_key_limiter", lambda: limiter)
    wrong = "guess-0123456789abcdef"
    with running_service(shop.settings) as client:
        for _ in range(30):  # Right keys take nothing of what wrong ones may.
            assert client.get("/v1/orders", bearer(READ)).status == 200
        replies = [client.get("/v1/orders", bearer(f"{wrong}{n}")) for n in range(25)]
        assert [reply.status for reply in replies] == [401] * 20 + [429] * 5
        assert all(wrong not in reply.body.decode() for reply in replies)
        for headers in (bearer(READ), {"X-API-Key": READ}, bearer(ADMIN)):
            reply = client.get("/v1/orders", headers)
            assert (reply.status, reply.headers["retry-after"]) == (429, "1")
            assert reply.json["type"] == "/problems/too-many-wrong-keys"
        assert client.get("/healthz").status == 200
        now = 1.0  # What was refused has not made it longer.
        assert [client.get("/v1/orders", bearer(READ)).status for _ in range(3)] == [200] * 3
        assert client.get("/v1/orders", bearer(wrong)).status == 401
        assert client.get("/v1/orders", bearer(READ)).status == 429


def test_a_body_that_is_too_large_is_refused(shop: ServingWorld) -> None:
    with running_service(with_http(shop, max_body_kb=1)) as client:
        path = "/v1/recommendations:batch"
        small = {"users": [{"user_id": "u1"}]}
        assert client.send("POST", path, small).status == 200
        large = {"users": [{"user_id": "u" * 500}] * 3}
        reply = client.send("POST", path, large)
        assert (reply.status, reply.json["type"]) == (413, "/problems/body-too-large")
        assert "http.max_body_kb" in reply.json["what_to_do"]
        assert _send_chunked(client, path, b"x" * 5_000) == 413


def _send_chunked(client: Client, path: str, body: bytes) -> int:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=60)
    chunks = (body[n : n + 100] for n in range(0, len(body), 100))
    connection.request(
        "POST", path, chunks, {"Content-Type": "application/json"}, encode_chunked=True
    )
    status = connection.getresponse().status
    connection.close()
    return status


def test_cors_is_off_unless_origins_are_set(shop: ServingWorld) -> None:
    preflight = {"Origin": "https://shop.example", "Access-Control-Request-Method": "GET"}
    with running_service(shop.settings) as client:
        reply = client.get("/v1/recommendations/u1", {"Origin": "https://shop.example"})
        assert reply.status == 200 and "access-control-allow-origin" not in reply.headers
        assert client.send("OPTIONS", "/v1/orders", None, preflight).status == 405
    with running_service(with_http(shop, cors_origins=["https://shop.example"])) as client:
        reply = client.get("/v1/recommendations/u1", {"Origin": "https://shop.example"})
        assert reply.headers["access-control-allow-origin"] == "https://shop.example"
        assert client.send("OPTIONS", "/v1/orders", None, preflight).status == 200
        reply = client.get("/v1/recommendations/u1", {"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("origin", ["shop.example", "https://shop.example/", "https://"])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="is no origin"):
        HttpSettings(cors_origins=[origin])


@pytest.mark.usefixtures("keys")
def test_no_key_is_in_an_answer_a_log_or_a_metric(
    shop: ServingWorld, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    texts = []
    with running_service(with_http(shop, requests_per_second=1)) as client:
        for key in (READ, "wrong-0123456789abcdef", WRITE):
            for path in ("/v1/orders", f"/v1/users/{key}", f"/nope/{key}", "/v1/orders?limit=x"):
                reply = client.get(path, bearer(key))
                texts.append(str(reply.headers) + ("" if key in path else reply.body.decode()))
        assert client.service is not None
        monkeypatch.setattr(client.service.source, "read", _fail)
        client.service.limiter = RateLimiter(0)
        reply = client.get("/v1/orders", bearer(READ))
        assert reply.status == 500 and reply.json["type"] == "/problems/fault"
        texts += [reply.body.decode(), client.get("/metrics", bearer(READ)).body.decode()]
    texts.append(caplog.text)
    assert "fault in" in caplog.text
    for key in (READ, WRITE, ADMIN, "wrong-0123456789abcdef"):
        assert all(key not in text for text in texts), key


def _fail(*_: Any) -> None:
    raise ZeroDivisionError("a fault")


def test_ids_of_users_are_in_no_metric_and_in_no_log(
    shop: ServingWorld, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with running_service(shop.settings) as client:
        for path in ("/v1/recommendations/hidden-7", "/v1/users/hidden-7", "/v1/nope/hidden-7"):
            client.get(path)
        assert b"hidden-7" not in client.get("/metrics").body
    assert "hidden-7" not in caplog.text


def test_keys_do_not_go_to_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_PREDICTIONS_HTTP_READ_KEYS", READ)
    monkeypatch.setenv("BATCH_PREDICTIONS_HTTP__CACHE_MB", "5")
    passed = shareable_variables()
    assert "BATCH_PREDICTIONS_HTTP__CACHE_MB" in passed and READ not in str(passed)


def test_the_name_of_a_store_has_no_password() -> None:
    url = empty_postgres()
    store = Store(url)
    password = url.split(":")[2].split("@")[0]
    assert len(password) > 8 and password not in store.name and "@" not in store.name
    store.close()
