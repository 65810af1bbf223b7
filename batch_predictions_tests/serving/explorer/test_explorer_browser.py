"""The pages in headless Chromium: what it shows, and that it refuses nothing."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch_predictions_tests.worlds.dagster_pages import CHROMIUM
from batch_predictions_tests.worlds.http_service import Client, publish_all, running_service
from batch_predictions_tests.worlds.serving import open_world

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]
SECONDS = 120


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A service of every table; tests only read."""
    world = open_world(tmp_path_factory.mktemp("explorer") / "home")
    publish_all(world)
    with running_service(world.settings) as client:
        yield client
    world.store.close()


def open_page(url: str, profile: Path) -> str:
    """The document after loading, without the parts that are not shown; fails on refusals."""
    assert CHROMIUM is not None
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command = [CHROMIUM, *options, f"--user-data-dir={profile}", "--dump-dom", url]
    process = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert process.returncode == 0, process.stderr
    refusals = [line for line in process.stderr.splitlines() if "CONSOLE" in line]
    assert not refusals, refusals
    return process.stdout


def test_a_browser_shows_the_pages(client: Client, tmp_path: Path) -> None:
    pages = {
        "": "What is predicted",
        "/users/u1": "User u1",
        "/items/a1": "Title a1",
        "/retention": "Retention audience",
    }
    for path, heading in pages.items():
        document = open_page(f"{client.url}/explorer{path}", tmp_path / "profile")
        assert re.search(rf"<h1>{heading}</h1>", document), document
        assert "</footer>" in document and client.url not in document
        assert ("<h2>History</h2>" in document) == (path == "/users/u1")
        assert ("<blockquote>So ripe" in document) == (path == "/items/a1")
