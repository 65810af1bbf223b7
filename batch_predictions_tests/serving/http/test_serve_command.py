"""`batch-predictions serve`: what it loads, how it starts and stops, workers, refusals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from batch_predictions.cli.command_line import make_app
from batch_predictions_tests.worlds.http_service import serve_process
from batch_predictions_tests.worlds.postgres import empty_postgres
from batch_predictions_tests.worlds.serving import ServingWorld, open_world

pytestmark = pytest.mark.slow

KEY = "read-0123456789abcdef0"


def refusal(home: Path, *arguments: str, **variables: str) -> str:
    """The error of a service that does not start, with exit code 2."""
    command = [sys.executable, "-m", "batch_predictions.cli", "serve", *arguments]
    process = subprocess.run(
        command,
        env={**os.environ, "BATCH_PREDICTIONS_HOME": str(home), **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 2, process.stderr
    assert "Traceback" not in process.stderr
    return process.stderr


def test_the_process_loads_no_heavy_library(shop: ServingWorld) -> None:
    heavy = ["torch", "dagster", "lightgbm", "pandas", "duckdb", "pyarrow", "numpy", "numba"]
    program = (
        "import sys\n"
        "from batch_predictions.cli.command_line import make_app\n"
        "make_app()\n"
        "from batch_predictions.serving.server.http_app import make_worker_app\n"
        "from batch_predictions.serving.server.server import serve\n"
        "make_worker_app()\n"
        f"print(sorted(set({heavy!r}) & set(sys.modules)))"
    )
    process = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "BATCH_PREDICTIONS_HOME": str(shop.settings.home)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.strip() == "[]"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_signal_ends_it_with_exit_code_0(
    shop: ServingWorld, number: signal.Signals, workers: str
) -> None:
    with serve_process(shop.settings.home, "--workers", workers) as (client, process):
        assert client.list_of("u1")["source"] == "personal"
        process.send_signal(number)
        assert process.wait(60) == 0
        with pytest.raises(ConnectionError):
            client.get("/healthz")


def test_a_request_that_has_begun_is_answered_before_it_ends(shop: ServingWorld) -> None:
    with serve_process(shop.settings.home) as (client, process):
        with socket.create_connection(("127.0.0.1", client.port)) as connection:
            body = b'{"users": [{"user_id": "u1"}]}'
            connection.sendall(
                b"POST /v1/recommendations:batch HTTP/1.1\r\nHost: localhost\r\n"
                b"Expect: 100-continue\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body)
            )
            assert connection.recv(100).startswith(b"HTTP/1.1 100")
            process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionError):
                while True:
                    client.get("/healthz")
            connection.sendall(body)
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert process.wait(60) == 0


def test_workers_count_together(shop: ServingWorld) -> None:
    with serve_process(shop.settings.home, "--workers", "2") as (client, _):
        for _ in range(20):
            client.list_of("u1", k=1)
        text = client.get("/metrics").body.decode()
        lines = [line for line in text.splitlines() if 'source="personal"' in line]
        assert lines and float(lines[0].rsplit(" ", 1)[1]) == 20
        assert 'release_id="2024-03-03-' in text


def test_a_release_that_is_published_while_it_runs_is_served(tmp_path: Path) -> None:
    world = open_world(tmp_path / "home")
    with serve_process(world.settings.home) as (client, _):
        assert client.get("/readyz").status == 503
        release = world.release()
        deadline = time.monotonic() + 60
        while client.get("/readyz").status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert client.list_of("u1")["release_id"] == release.release_id
    world.store.close()


def test_it_serves_postgresql_and_shows_no_password(tmp_path: Path) -> None:
    url = empty_postgres()
    world = open_world(tmp_path / "home", url)
    world.release()
    variables = {"BATCH_PREDICTIONS_SERVING__URL": url}
    with serve_process(world.settings.home, **variables) as (client, process):
        assert client.list_of("u1")["source"] == "personal"
        metrics = client.get("/metrics").body.decode()
        process.terminate()
        assert process.wait(60) == 0
        assert process.stderr is not None
        text = process.stderr.read() + metrics
    assert url.split(":")[2].split("@")[0] not in text
    world.store.close()


def test_other_addresses_than_loopback_need_a_key(shop: ServingWorld) -> None:
    text = refusal(shop.settings.home, "--host", "0.0.0.0", "--port", "0")
    assert "BATCH_PREDICTIONS_HTTP_READ_KEYS" in text and "openssl rand -hex 32" in text
    text = refusal(shop.settings.home, BATCH_PREDICTIONS_HTTP_READ_KEYS="short")
    assert "fewer than 20 characters" in text and "short" not in text.replace("shorter", "")


def test_it_says_who_needs_a_key(shop: ServingWorld) -> None:
    variables = {"BATCH_PREDICTIONS_HTTP_READ_KEYS": KEY}
    with serve_process(shop.settings.home, **variables) as (client, process):
        assert client.get("/v1/recommendations/u1").status == 401
        headers = {"Authorization": f"Bearer {KEY}"}
        assert client.get("/v1/recommendations/u1", headers).status == 200
        process.terminate()
        process.wait(60)
        assert process.stderr is not None and KEY not in process.stderr.read()


def test_a_port_in_use_is_an_error_that_says_what_to_do(shop: ServingWorld) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        text = refusal(shop.settings.home, "--port", str(taken.getsockname()[1]))
    assert "--port" in text and "in use" in text


def test_an_address_of_another_machine_is_an_error(shop: ServingWorld) -> None:
    keys = {"BATCH_PREDICTIONS_HTTP_READ_KEYS": KEY}
    assert "cannot be listened on" in refusal(shop.settings.home, "--host", "192.0.2.1", **keys)
    assert "is no address" in refusal(shop.settings.home, "--host", "no.such.invalid", **keys)


def test_help_teaches() -> None:
    text = " ".join(CliRunner().invoke(make_app(), ["serve", "--help"]).output.split())
    for word in (
        "curl",
        "READ_KEYS",
        "--workers",
        "/readyz",
        "docs/reference/http.md",
        "8080",
        "SIGTERM",
    ):
        assert word in text, word
