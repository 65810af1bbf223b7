"""`batch-predictions webserver` and `daemon`: both start on a new home, and end by a signal."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from dagster import DagsterInstance
from typer.testing import CliRunner

from batch_predictions.cli.command_line import make_app
from batch_predictions.cli.console import dagster_processes
from batch_predictions_tests.worlds.dagster_pages import free_port
from batch_predictions_tests.worlds.retail_fixtures import environment, write_shop

pytestmark = pytest.mark.slow


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Waits for what a process does, as long as it runs, up to five minutes."""
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, f"it ended with exit code {process.returncode}"
        assert time.monotonic() < deadline
        time.sleep(0.1)


def statuses_of_other_sites(port: int) -> list[int]:
    """Statuses of what a page of another site makes a browser ask Dagster's pages."""
    mutation = json.dumps({"query": "mutation { setConcurrencyLimit(concurrencyKey: \"gpu\", "
                                    "limit: 0) { success } }"})  # fmt: skip
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    upgrade |= {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Origin": "http://evil.example"}
    json_type = {"Content-Type": "application/json"}
    requests: list[tuple[str, str, str | None, dict[str, str]]] = [
        ("GET", "/dagster/graphql?query=mutation%7Bx%7D", None, {"Sec-Fetch-Site": "cross-site"}),
        ("POST", "/dagster/graphql", mutation, {"Content-Type": "text/plain"}),
        ("POST", "/dagster/graphql", mutation, json_type | {"Origin": "http://evil.example"}),
        ("GET", "/dagster/", None, {"Host": "evil.example"}),
        ("GET", "/dagster/graphql", None, upgrade),
    ]
    statuses = []
    for method, path, body, headers in requests:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        connection.request(method, path, body, headers)
        statuses.append(connection.getresponse().status)
        connection.close()
    return statuses


def test_both_start_together_on_a_new_home_and_end_by_sigterm(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    write_shop(tmp_path / "shop", days=28, last=dt.date(2024, 3, 3))
    home, port = tmp_path / "home", free_port()
    url = f"http://127.0.0.1:{port}/dagster"
    command = [sys.executable, "-m", "batch_predictions.cli"]
    options = ["--port", str(port), "--path-prefix", "/dagster", "--read-only"]
    env = environment(home, tmp_path / "shop")
    daemon, webserver = (
        subprocess.Popen([*command, *arguments], env=env, cwd=tmp_path)
        for arguments in (["daemon"], ["webserver", *options])
    )
    try:

        def answers() -> bool:
            try:
                urllib.request.urlopen(f"{url}/server_info", timeout=60)
            except (urllib.error.URLError, ConnectionError):
                return False
            return True

        wait_until(answers, webserver)
        query = json.dumps({"query": "{ repositoriesOrError { ... on RepositoryConnection { "
                                     "nodes { schedules { name } } } } }"})  # fmt: skip
        request = urllib.request.Request(
            f"{url}/graphql", query.encode(), {"Content-Type": "application/json"}
        )
        assert statuses_of_other_sites(port) == [403] * 5
        nodes = json.load(urllib.request.urlopen(request, timeout=300))["data"]
        [repository] = nodes["repositoriesOrError"]["nodes"]
        assert "nightly" in {schedule["name"] for schedule in repository["schedules"]}
        with DagsterInstance.from_config(str(home / "dagster")) as instance:
            wait_until(lambda: "SENSOR" in instance.get_daemon_heartbeats(), daemon)
    finally:
        for process in (daemon, webserver):
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(180) for process in (daemon, webserver)]
    assert codes == [0, 0]


def test_the_help_says_who_may_reach_the_pages() -> None:
    text = CliRunner().invoke(make_app(), ["webserver", "--help"]).output
    text = " ".join(text.replace("│", " ").split())
    assert "no password" in text and "loopback" in text


def test_an_installed_package_loads_the_code_location_by_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []
    monkeypatch.setattr(dagster_processes, "WORKSPACE", tmp_path / "none")
    monkeypatch.setattr("os.execv", lambda program, words: commands.append(words))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    dagster_processes.become("dagster._daemon", "run")
    assert commands == [
        [sys.executable, "-m", "dagster._daemon", "run", "-m", "batch_predictions.definitions"]
    ]
