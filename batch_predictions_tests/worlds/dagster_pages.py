"""Dagster's pages on a home folder in headless Chromium, as a person uses them."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MINUTES = 5
"""How long a page or a process may take on a busy machine."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running_dagster(env: dict[str, str], cwd: Path) -> Iterator[str]:
    """Webserver and daemon of a home, by the commands; yields the address of the pages."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    commands = [["daemon"], ["webserver", "--port", str(port)]]
    daemon, webserver = (
        subprocess.Popen([sys.executable, "-m", "batch_predictions.cli", *words], env=env, cwd=cwd)
        for words in commands
    )
    try:
        deadline = time.monotonic() + 60 * MINUTES
        while not _answers(url):
            assert webserver.poll() is None, f"it ended with exit code {webserver.returncode}"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield url
        assert daemon.poll() is None, f"the daemon ended with exit code {daemon.returncode}"
    finally:
        for process in (daemon, webserver):
            process.send_signal(signal.SIGTERM)
        for process in (daemon, webserver):
            process.wait(60 * MINUTES)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/server_info", timeout=60)
    except (urllib.error.URLError, ConnectionError):
        return False
    return True


class DagsterPages:
    """One tab of a browser, which notes whatever Dagster shows or reports as an error.

    Args:
        page: of Playwright.
        url: address of the webserver.
    """

    def __init__(self, page: Any, url: str) -> None:
        self.page, self.url = page, url
        self.errors: list[str] = []
        """Exceptions of scripts, errors of GraphQL, and messages that pop up."""
        page.set_default_timeout(60_000 * MINUTES)
        page.on("pageerror", lambda error: self.errors.append(f"exception: {error}"))
        page.on("response", self._note_response)
        page.expose_function("noteMessage", self._note_message)
        # Messages vanish after seconds, so that each is noted when it appears.
        page.add_init_script(
            """new MutationObserver(() => {
                for (const message of document.querySelectorAll('[class*=Toaster_toastMessage]'))
                    if (!message.isNoted) {
                        message.isNoted = true;
                        window.noteMessage(message.innerText);
                    }
            }).observe(document, {childList: true, subtree: true});"""
        )

    def _note_response(self, response: Any) -> None:
        if response.status >= 500:
            self.errors.append(f"status {response.status}: {response.url}")

    def _note_message(self, text: str) -> None:
        if not text.startswith("Launched run"):
            self.errors.append(f"message: {text}")

    def open(self, path: str, text: str) -> None:
        """Opens a page, and waits for a text on it."""
        self.page.goto(self.url + path)
        self.page.get_by_text(text, exact=True).first.wait_for()

    def open_lineage(self) -> None:
        """Opens the graph of all assets, with the assets of every group."""
        self.open("/asset-groups", "sources")
        for group in ("evaluation", "features", "models", "predictions", "serving", "sources"):
            self.page.get_by_text(group, exact=True).last.wait_for()

    def materialize(self, asset: str, partition: str) -> str:
        """Materializes a partition by the dialog; returns the run's status at its end."""
        page = self.page
        self.open(f"/assets/{asset}", "Columns")
        page.get_by_role("button", name="Materialize").first.click()
        keys = page.get_by_placeholder(re.compile("^(ex: |No matching partitions)"))
        # Dagster asks first where an upstream, as of a table that the source lacks, has no rows.
        confirm = page.get_by_role("button", name="Confirm")
        keys.or_(confirm).first.wait_for()
        if confirm.count():
            confirm.click()
        keys.wait_for()
        # The dialog offers those of the last 90 days.
        everything = page.get_by_text("Show all partitions")
        if everything.count():
            everything.click()
        keys.fill(partition)
        keys.press("Enter")
        page.get_by_role("button", name="Launch 1 run").click()
        page.get_by_text("View", exact=True).first.click()
        page.wait_for_url("**/runs/*")
        status = page.get_by_text(re.compile("^(Success|Failure|Canceled)$")).first
        status.wait_for()
        return str(status.inner_text())

    def open_plot(self, asset: str) -> tuple[int, int]:
        """Opens the plots of an asset's newest materialization; width and height of `plot`."""
        page = self.page
        self.open(f"/assets/{asset}", "Metadata")
        row = page.locator("tr", has=page.get_by_text("plot", exact=True))
        row.get_by_text(re.compile("markdown", re.IGNORECASE)).click()
        image = page.locator("img[alt=plot]").first
        image.wait_for()
        width, height = image.evaluate("image => [image.naturalWidth, image.naturalHeight]")
        return width, height


@contextmanager
def browser_pages(url: str) -> Iterator[DagsterPages]:
    """A browser with one tab."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        yield DagsterPages(page, url)
        browser.close()
