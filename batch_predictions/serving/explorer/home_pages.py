"""Pages of the explorer about the home itself: its report, quality, operations, data and models.

Their rows are in the warehouse and not in the release. `batch-predictions report` reads them in a
process of its own when somebody looks, so that the service needs neither the memory nor the
libraries; its answer is kept for `MAX_AGE_SECONDS`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from fastapi import APIRouter, Request, Response

from batch_predictions.core.redaction import redact
from batch_predictions.serving.explorer.rendering import (
    CARDS,
    HOME_PAGES,
    has_home_pages,
    home_page,
)
from batch_predictions.serving.http.problems import (
    NOT_FOUND,
    PAGE_FAILED,
    PAGES_BUSY,
    ProblemError,
)
from batch_predictions.serving.http.service import PredictionService

MAX_AGE_SECONDS = 300.0
"""Age at which a page is made anew."""
TIMEOUT_SECONDS = 120.0
"""A page of a bucket's home with many tables takes longest."""
MAX_MAKING = 4
"""Pages that are made or wait for their turn; who asks for another one is to come back."""
RETRY_SECONDS = 5


class HomePage(NamedTuple):
    """A page that was made: its sections, and when (seconds since the epoch)."""

    sections: list[dict[str, Any]]
    made_at: float


@dataclass
class _Making:
    """A page that is being made, or waits for its turn, and how many requests wait for it."""

    task: asyncio.Task[HomePage]
    waiting: int = 0


class HomePages:
    """Makes the pages of a home, one at a time, and keeps each for `MAX_AGE_SECONDS`."""

    def __init__(self, home: Path) -> None:
        """Takes the home, whose settings the child reads as the service did."""
        self._home, self._lock = home, asyncio.Lock()
        self._pages: dict[str, HomePage] = {}
        self._making: dict[str, _Making] = {}

    def has(self, name: str) -> bool:
        """Returns whether there is such a page: no process is started for another name."""
        model = name.removeprefix(CARDS)
        if model == name:
            return name in HOME_PAGES
        folder = self._home / "models"
        return folder.is_dir() and model in {path.name for path in folder.iterdir()}

    async def get(self, name: str, request: Request) -> HomePage:
        """A page by its name, made at most `MAX_AGE_SECONDS` ago.

        Its making ends when all clients that wait for it have left.

        Raises:
            ProblemError: it could not be made, and the problem has the reason; or many wait.
        """
        page = self._pages.get(name)
        if page is not None and time.time() - page.made_at <= MAX_AGE_SECONDS:
            return page
        making = self._making.get(name)
        if making is None:
            if len(self._making) >= MAX_MAKING:
                detail = f"{len(self._making)} pages are being made."
                raise ProblemError(PAGES_BUSY, detail, {"retry-after": str(RETRY_SECONDS)})
            making = self._making[name] = _Making(asyncio.create_task(self._make_in_turn(name)))
        gone = asyncio.create_task(_wait_until_gone(request))
        making.waiting += 1
        try:
            await asyncio.wait({making.task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not making.task.done():
                raise ProblemError(PAGE_FAILED, "The client has left.")
            return making.task.result()
        finally:
            gone.cancel()
            making.waiting -= 1
            if not making.waiting:
                making.task.cancel()
                if self._making.get(name) is making:
                    del self._making[name]

    async def _make_in_turn(self, name: str) -> HomePage:
        async with self._lock:
            page = self._pages[name] = HomePage(await self._make(name), time.time())
            return page

    async def _make(self, name: str) -> list[dict[str, Any]]:
        words = ["report", "--home", str(self._home), "--page", name, "--json"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "batch_predictions.cli", *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answer, errors = await process.communicate()
        except TimeoutError:
            raise ProblemError(
                PAGE_FAILED, f"The page took more than {TIMEOUT_SECONDS:.0f} seconds."
            ) from None
        finally:
            # Also when the browser has gone meanwhile.
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            lines = errors.decode(errors="replace").strip().splitlines()
            reason = redact(lines[-1]) if lines else "it gave no reason"
            raise ProblemError(PAGE_FAILED, f"The page could not be made: {reason}")
        sections: list[dict[str, Any]] = orjson.loads(answer)["sections"]
        return sections


async def _wait_until_gone(request: Request) -> None:
    """Returns when the client of a request has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def add_home_pages(router: APIRouter, service: PredictionService) -> None:
    """Adds the routes of the pages; where release files alone are served, they are not found."""
    pages = HomePages(service.settings.home)

    async def respond(request: Request, name: str, heading: str, lead: str) -> Response:
        if not has_home_pages(service):
            raise ProblemError(NOT_FOUND, "This machine serves release files, and has no home.")
        if not pages.has(name):
            raise ProblemError(NOT_FOUND, f"There is no model {heading}.")
        page = await pages.get(name, request)
        return await service.in_thread(
            lambda: home_page(name, heading, lead, page.sections, page.made_at)
        )

    def add(name: str, lead: str) -> None:
        @router.get(f"/{name}")
        async def get_home_page(request: Request) -> Response:
            return await respond(request, name, name.capitalize(), lead)

    for name, lead in HOME_PAGES.items():
        add(name, lead)

    @router.get("/models/{name}")
    async def get_card(request: Request, name: str) -> Response:
        return await respond(request, f"{CARDS}{name}", name, "The card of a model.")
