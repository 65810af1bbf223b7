"""docs/reference/http_clients.md: written of the description, and its calls run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch_predictions.tables import RECOMMENDATIONS
from batch_predictions_tests.worlds.http_service import (
    ALL_TABLES,
    Client,
    predict_all,
    running_service,
)
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.serving import DAY, open_world

PAGE = ROOT / "docs" / "reference" / "http_clients.md"
SCRIPT = ROOT / ".ci" / "client_page.py"
KEY = "read-0123456789abcdef0"
IDS = {"user_id": ("u1", "1"), "item_id": ("a1", "1082185"), "campaign_id": ("spring", "26")}
"""Ids of the world, and those of the description's examples."""
ANSWERED = {"release_id", "accepted", "signed_up_on"}
"""Keys of answers: of lookups, of events, of sign-ups."""


def calls(mark: str) -> list[str]:
    """The calls of a language."""
    return re.findall(rf"```{mark}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A service with a key, whose release has the ids of the examples."""
    world = open_world(tmp_path_factory.mktemp("http") / "home")
    predict_all(world)
    for table in (RECOMMENDATIONS, *ALL_TABLES):
        names = {column.name for column in table.columns}
        changes = [
            f"case {name} when '{old}' then '{new}' else {name} end as {name}"
            for name, (old, new) in IDS.items()
            if name in names
        ]
        [key] = world.warehouse.partitions(table)
        rows = world.warehouse.query(
            f"select * exclude ({table.partition}) replace ({', '.join(changes)}) "
            f"from {table.qualified}"
        )
        world.warehouse.replace_partition(table, key, rows.to_reader())
    world.publish(DAY, *ALL_TABLES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BATCH_PREDICTIONS_HTTP_READ_KEYS", KEY)
        patch.setenv("BATCH_PREDICTIONS_HTTP_WRITE_KEYS", KEY)
        with running_service(world.settings) as client:
            yield client
    world.store.close()


def run(command: list[str], client: Client, program: str) -> str:
    """The output of a call."""
    process = subprocess.run(
        [part.replace("PROGRAM", program) for part in command],
        env={**os.environ, "API_KEY": KEY, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 0, program + process.stdout + process.stderr
    return process.stdout


def is_answer(text: str) -> bool:
    """Whether a printed answer has one of the keys of those that are right."""
    return any(key in text for key in ANSWERED)


def programs(mark: str, client: Client) -> list[str]:
    """The calls of a language to the service of the test."""
    programs = [call.replace("http://127.0.0.1:8080", client.url) for call in calls(mark)]
    assert len(programs) == 13 and all(client.url in program for program in programs)
    return programs


def test_the_page_is_as_the_script_writes_it() -> None:
    process = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, check=True
    )
    written = PAGE.read_text(encoding="utf-8")
    assert process.stdout == written, "python .ci/client_page.py >docs/reference/http_clients.md"


def test_every_address_has_a_call_in_every_language() -> None:
    counts = {mark: len(calls(mark)) for mark in ("sh", "js", "php", "java", "python")}
    assert set(counts.values()) == {13}, counts


def test_calls_of_curl_run(client: Client) -> None:
    if not shutil.which("curl") or not shutil.which("bash"):
        pytest.skip("curl is not installed")
    for program in programs("sh", client):
        assert ANSWERED & set(json.loads(run(["bash", "-euc", "PROGRAM"], client, program)))


def test_calls_of_python_run(client: Client) -> None:
    for program in programs("python", client):
        assert is_answer(run([sys.executable, "-c", "PROGRAM"], client, program))


@pytest.mark.slow
def test_calls_of_javascript_run(client: Client) -> None:
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    if int(version.lstrip("v").partition(".")[0]) < 18:
        pytest.skip(f"node {version.strip()} has no fetch")
    for program in programs("js", client):
        command = [node, "--input-type=module", "-e", "PROGRAM"]
        assert is_answer(run(command, client, program))


@pytest.mark.slow
def test_a_call_of_php_runs(client: Client, tmp_path: Path) -> None:
    php = shutil.which("php")
    if not php or "curl" not in subprocess.run([php, "-m"], capture_output=True, text=True).stdout:
        pytest.skip("php with its curl extension is not installed")
    file = tmp_path / "call.php"
    for program in programs("php", client):
        file.write_text(program, encoding="utf-8")
        assert is_answer(run([php, str(file)], client, program))


@pytest.mark.slow
def test_a_call_of_java_runs(client: Client, tmp_path: Path) -> None:
    if not shutil.which("javac"):
        pytest.skip("a JDK is not installed")
    file = tmp_path / "Call.java"
    for program in programs("java", client)[:2]:  # a get and a post: Java starts slowly
        file.write_text(program, encoding="utf-8")
        assert is_answer(run(["java", str(file)], client, program))


def test_a_call_without_a_valid_key_says_what_to_do(client: Client) -> None:
    if not shutil.which("curl") or not shutil.which("bash"):
        pytest.skip("curl is not installed")
    program = programs("sh", client)[0].replace("$API_KEY", "none-0123456789abcdef")
    process = subprocess.run(["bash", "-euc", program], capture_output=True, text=True)
    assert process.returncode == 22 and "HTTP_…_KEYS" in process.stdout
