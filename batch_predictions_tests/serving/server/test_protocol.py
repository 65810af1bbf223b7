"""Connections: what they may hold, how long the service waits, and offers of other protocols."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch_predictions.serving.server import protocol as protocol_module
from batch_predictions.serving.server.protocol import MAX_HEAD_BYTES, MIN_WATCH_BYTES, PIECE_BYTES
from batch_predictions_tests.worlds.http_connection import Connection
from batch_predictions_tests.worlds.http_service import Client, running_service, serve_process
from batch_predictions_tests.worlds.serving import ServingWorld

HOST = b"Host: localhost\r\n"
GET = b"GET /v1/recommendations/u1 HTTP/1.1\r\n" + HOST + b"\r\n"
BATCH = b"POST /v1/recommendations:batch HTTP/1.1\r\nContent-Type: application/json\r\n" + HOST
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEA\r\n"


@pytest.fixture(scope="module")
def client(shop: ServingWorld) -> Iterator[Client]:
    with running_service(shop.settings) as client:
        yield client


@contextlib.contextmanager
def connect(client: Client) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", client.port), timeout=60) as connection:
        yield connection


def read_to_the_end(connection: socket.socket) -> bytes:
    """All bytes until the service ends the connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(1 << 16):
            received += data
    return received


def test_a_connection_holds_few_requests_whose_answers_are_not_read() -> None:
    connection = Connection()
    connection.receive(GET * 2_000)
    assert connection.transport.is_paused
    assert 0 < len(connection.protocol.pipeline) < 100
    for _ in range(1_999):
        connection.answer()
        assert len(connection.protocol.pipeline) < 100
    connection.answer()
    assert not connection.protocol.pipeline and not connection.transport.is_paused
    assert connection.protocol.server_state.total_requests == 2_000


def test_requests_at_once_are_all_answered_in_order(client: Client) -> None:
    users = [f"u{n}" for n in range(1_000)]
    text = json.dumps({"users": [{"user_id": "x" * 400}] * 400}).encode()  # over 64 KB
    batch = BATCH + b"Content-Length: %d\r\n\r\n" % len(text) + text
    requests = [GET.replace(b"u1", user.encode()) for user in users]
    requests[::250] = [batch + request for request in requests[::250]]
    requests.append(GET.replace(HOST, HOST + b"Connection: close\r\n"))
    with connect(client) as connection:
        sender = threading.Thread(target=connection.sendall, args=(b"".join(requests),))
        sender.start()
        received = read_to_the_end(connection)
        sender.join()
    assert received.count(b"HTTP/1.1 200 OK") == 1_005
    places = [received.index(b'"user_id":"%b"' % user.encode()) for user in users]
    assert places == sorted(places)


@pytest.mark.slow
def test_a_client_that_reads_no_answers_takes_little_memory(shop: ServingWorld) -> None:
    with serve_process(shop.settings.home) as (client, process):
        client.list_of("u1")
        before = resident_mb(process.pid)
        with connect(client) as connection:
            connection.setblocking(False)
            waiting, sent = memoryview(GET * 10_000), 0
            while sent < 1_000_000 * len(GET) and select.select([], [connection], [], 2)[1]:
                sent += connection.send(waiting[sent % len(GET) :])
            assert client.list_of("u1")["source"] == "personal"
            assert resident_mb(process.pid) - before < 50


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("needs Linux's /proc")
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: " + b"x" * MAX_HEAD_BYTES,
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: y\r\n" * (MAX_HEAD_BYTES // 6),
        b"GET /healthz HTTP/1.1\r\n" + HOST + b"X" * MAX_HEAD_BYTES,
        b"GET /" + b"x" * MAX_HEAD_BYTES,
        b"GET /healthz?" + b"x" * MAX_HEAD_BYTES,
        b"\r\n" * MAX_HEAD_BYTES,
        BATCH + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * MAX_HEAD_BYTES,
        BATCH + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"x" * MAX_HEAD_BYTES,
    ],
    ids=["header", "headers", "name", "path", "query", "lines", "chunk extension", "trailer"],
)
def test_a_head_that_is_too_large_ends_the_connection(client: Client, request_: bytes) -> None:
    with connect(client) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(request_ + b"x" * PIECE_BYTES)
        received = read_to_the_end(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["type"] == "/problems/head-too-large"


def test_a_head_of_nearly_64_kb_is_answered(client: Client) -> None:
    large = {"X": "x" * (MAX_HEAD_BYTES - PIECE_BYTES)}
    assert client.get("/v1/recommendations/u1", large).status == 200
    exclude = [f"item-{n:06}" for n in range(2_800)]
    assert client.get("/v1/recommendations/u1", exclude=exclude).status in (200, 422)


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01 TLS",
        b"CONNECT shop.example:443 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    ],
)
def test_what_is_no_request_for_the_service_ends_the_connection(
    client: Client, request_: bytes
) -> None:
    with connect(client) as connection:
        connection.sendall(request_)
        head, _, body = read_to_the_end(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n") and b"connection: close" in head
    assert json.loads(body)["type"] == "/problems/not-http"


def test_http_1_0_needs_no_host(client: Client) -> None:
    with connect(client) as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert read_to_the_end(connection).startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_error_is_not_taken_for_the_answer_to_the_request_before() -> None:
    connection = Connection()
    connection.receive(GET, b"no request\r\n\r\n")
    assert connection.transport.is_closed and connection.transport.written == b""


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_that_looks_like_an_offer_stays_as_it_is(size: int, framing: str) -> None:
    """Wherever the network cuts it: what follows it is the next request, and no other."""
    body = b"POST /v1/events HTTP/1.1\r\nupgrade: h2c\r\nUpgrade: h2c\r\n\r\n"
    for head in (BATCH, BATCH + OFFER):
        connection = Connection()
        if framing == "length":
            message = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        else:
            message = head + b"Transfer-Encoding: chunked\r\n\r\n"
            message += b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        place = message.index(b"\r\n\r\n") + 4
        pieces = [message[:place], message[place:]]
        connection.receive(*(p[n : n + size] for p in pieces for n in range(0, len(p), size)))
        first = connection.protocol.cycle
        assert bytes(first.body) == body and not first.more_body
        names = [name for name, _ in first.scope["headers"]]
        assert b"upgrade" not in names and b"host" in names
        connection.answer()
        connection.receive(GET)
        second = connection.protocol.cycle
        assert second is not first and second.scope["path"] == "/v1/recommendations/u1"


def test_requests_with_offers_at_once_are_all_answered(client: Client) -> None:
    body = b'{"users": [{"user_id": "upgrade: h2c"}]}'
    batch = BATCH + OFFER + b"Content-Length: %d\r\n\r\n" % len(body) + body
    get = GET.replace(HOST, HOST + OFFER)
    close = GET.replace(HOST, HOST + b"Connection: close\r\n")
    with connect(client) as connection:
        connection.sendall((batch + get) * 20 + close)
        received = read_to_the_end(connection)
    assert received.count(b"HTTP/1.1 200 OK") == received.count(b"HTTP/1.1") == 41
    assert received.count(b'"user_id":"upgrade: h2c"') == 20


def test_a_request_is_told_that_its_client_has_gone_while_others_wait() -> None:
    connection = Connection()
    connection.receive(GET * 3)
    running = connection.protocol._running
    connection.protocol.connection_lost(ConnectionResetError())
    assert running is not None and running.disconnected and running.message_event.is_set()
    assert not connection.protocol.pipeline


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nX: ",
        b"\r\n",
        BATCH + b"Content-Length: 100\r\n\r\n",
        BATCH + b"Transfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["silent", "head", "lines", "body", "chunks"],
)
def test_a_client_that_sends_a_byte_at_times_or_none_is_ended(begun: bytes) -> None:
    for last in (b"", b"\r\n" if begun == b"\r\n" else b"1"):
        connection = Connection()
        connection.receive(begun + last)
        assert connection.watch()
        connection.receive(last)
        assert not connection.watch()


def test_the_rest_of_a_body_that_has_been_answered_is_not_read_for_long() -> None:
    connection = Connection()
    connection.receive(BATCH + b"Content-Length: 1000000000\r\n\r\n")
    connection.answer()
    for _ in range(2):
        connection.receive(b"x" * MIN_WATCH_BYTES)
        connection.watch()
    assert connection.transport.is_aborted


def test_a_client_that_does_not_read_its_answers_is_ended() -> None:
    connection = Connection()
    connection.receive(GET * 3)
    connection.transport.unsent = 10 * MIN_WATCH_BYTES
    connection.protocol.pause_writing()
    for _ in range(5):
        assert connection.watch()
        connection.transport.unsent -= MIN_WATCH_BYTES
    connection.protocol.resume_writing()
    assert connection.watch()
    assert not connection.watch()


def test_a_client_that_waits_for_its_answer_or_goes_on_is_not_ended() -> None:
    connection = Connection()
    for _ in range(3):
        connection.receive(GET)
        assert connection.watch() and connection.watch() and connection.watch()
        connection.answer()  # Keep-alive has a limit of its own.
        assert connection.watch() and connection.watch()
        connection.receive(GET[:20])
        assert connection.watch()
        connection.receive(GET[20:])
        connection.answer()
    connection.receive(BATCH + b"Content-Length: 1000000\r\n\r\n")
    for _ in range(5):
        connection.receive(b"x" * MIN_WATCH_BYTES)
        assert connection.watch()
    connection.receive(b"x" * 100_000)  # More than is read on before the service has taken it.
    assert connection.watch() and connection.watch() and connection.watch()


@pytest.mark.parametrize(
    "begun", [b"", GET[:20], BATCH + b"Content-Length: 9\r\n\r\n", GET * 50_000]
)
def test_the_service_ends_connections_of_clients_that_stop(
    shop: ServingWorld, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(protocol_module, "WATCH_SECONDS", 0.1)
    with running_service(shop.settings) as client, connect(client) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(begun)
        ended = select.poll()
        ended.register(connection, select.POLLRDHUP)
        assert ended.poll(60_000)
