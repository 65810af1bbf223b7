"""Renders templates as answers that run no script and load nothing from elsewhere.

It explains predictions in words for people who have not read the documentation, and answers
problems of the explorer's addresses as pages, and not as JSON.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson
from starlette.responses import Response

from batch_predictions.serving.http.current_release import CurrentRelease
from batch_predictions.serving.http.problems import CONTENT_TYPE
from batch_predictions.serving.http.request_gate import App, Message, Receive, Scope, Send
from batch_predictions.serving.http.service import PredictionService

if TYPE_CHECKING:
    import jinja2

LIKED = "because_you_liked:"
_REASONS = {
    "bought_before": "bought before",
    "viewed_before": "looked at before, but did not take",
    "popular_with_your_segment": "popular with people like them",
    "popular": "popular with everybody",
    "trending": "in demand lately",
    "on_promotion": "on promotion the next day",
}
_ATTRIBUTES = {"age_bracket": "age bracket", "gender": "gender", "location": "location"}


def liked_item(reason: str | None) -> str | None:
    """The item that a reason names; None if it names none."""
    return reason.removeprefix(LIKED) if reason and reason.startswith(LIKED) else None


def explain_reason(reason: str | None, titles: Mapping[str, str]) -> str:
    """Explains the reason of a recommendation in words; an unknown reason stays as it is.

    Args:
        reason: such as bought_before, or because_you_liked:ITEM; None: none is stored.
        titles: titles by item.
    """
    item = liked_item(reason)
    if item is not None:
        return f"because they liked {titles.get(item, item)}"
    return _REASONS.get(reason or "", reason or "")


def explain_source(source: str, segment: Mapping[str, str] | None) -> str:
    """Explains in a sentence how a list was made: personal, demographic or popular.

    Args:
        source: of the list.
        segment: its level and values.
    """
    if source == "personal":
        return "Ranked for this user, from what they have done so far."
    if source == "demographic":
        values = [
            f"{_ATTRIBUTES.get(name, name)} {value}"
            for name, value in (segment or {}).items()
            if name != "level"
        ]
        return (
            "The user has no list of their own and gets what is popular with people "
            f"of {', '.join(values)}."
        )
    return (
        "The user has no list of their own, and no segment is known for them: they get "
        "what is popular with everybody."
    )


def age_in_words(seconds: float) -> str:
    """An age such as `5 hours` or `3 days`."""
    hours = seconds / 3600
    if hours < 1:
        return "less than an hour"
    number, unit = (int(hours), "hour") if hours < 48 else (int(hours / 24), "day")
    return f"{number} {unit}" + ("s" if number != 1 else "")


def bar_lengths(scores: Sequence[float | None]) -> list[float]:
    """Lengths of bars for scores, 0 to 100; the largest is 100.

    Scores are compared with zero where none is negative, otherwise with the smallest.
    """
    numbers = [score for score in scores if score is not None]
    if not numbers:
        return [0.0] * len(scores)
    low, high = min(0.0, *numbers), max(numbers)
    if high <= low:
        return [0.0] * len(scores)
    return [0.0 if s is None else round(100 * (s - low) / (high - low), 1) for s in scores]


FOLDER = Path(__file__).parent
PREFIX = "/explorer"
HOME_PAGES = {
    "report": "What is predicted for the coming days, how well it did, and who is left out.",
    "quality": "Which models serve, how good they are, and when they changed.",
    "operations": "What needs attention: runs, checks, drift, costs and disk.",
    "data": "Rows by day and table, refused rows, and unusual days.",
}
"""Names of the pages about the home itself, each with what it shows."""
CARDS = "models/"
"""Beginning of the names of pages that are a model's card."""
WARN_AGE_HOURS = 36.0
"""A release of which the day ended longer ago is called old, where http.max_age_hours is empty."""
_POLICY = "content-security-policy"
HEADERS = {
    _POLICY: (
        "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    # Addresses of pages have ids.
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
"""Of every page."""


@functools.cache
def stylesheet() -> str:
    """The text of the stylesheet."""
    return (FOLDER / "static" / "explorer.css").read_text(encoding="utf-8")


def page(
    service: PredictionService, template: str, release: CurrentRelease, **values: Any
) -> Response:
    """A page of a release.

    Args:
        service: whose settings say when a release is old.
        template: its name.
        release: the release that all values are of.
        values: of the template.
    """
    age = release.age_seconds(time.time())
    limit = service.settings.http.max_age_hours or WARN_AGE_HOURS
    text = render(
        template,
        release=release.served,
        age=age_in_words(age),
        is_old=age > limit * 3600,
        home_pages=HOME_PAGES if has_home_pages(service) else {},
        **values,
    )
    headers = {**HEADERS, "cache-control": "private, no-cache"}
    return Response(text, media_type="text/html; charset=utf-8", headers=headers)


def home_page(
    name: str, heading: str, lead: str, sections: Sequence[Mapping[str, Any]], made_at: float
) -> Response:
    """A page about the home itself.

    Args:
        name: its last part of the address, or `models/NAME`.
        heading: the page's title.
        lead: what it shows, in a sentence.
        sections: as `batch-predictions report --json` prints them.
        made_at: seconds since the epoch.
    """
    text = render(
        "home_page.html",
        home_pages=HOME_PAGES,
        current_page=name,
        heading=heading,
        lead=lead,
        sections=sections,
        has_links=True,
        made_at=f"{dt.datetime.fromtimestamp(made_at, dt.UTC):%Y-%m-%d %H:%M}",
    )
    headers = {**HEADERS, "cache-control": "private, no-cache"}
    return Response(text, media_type="text/html; charset=utf-8", headers=headers)


def has_home_pages(service: PredictionService) -> bool:
    """Returns whether the service has a home: where release files alone are served, it has none."""
    return service.settings.http.release_dir is None


def render(template: str, **values: Any) -> str:
    """The text of a template; values are escaped, and a missing one is an error."""
    return _environment().get_template(template).render(**values)


@functools.cache
def _environment() -> jinja2.Environment:
    # Loaded with the first page: the service starts without it.
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "address": lambda value: quote(str(value), safe=""),
        "number": _number,
        "fixed": lambda value: "–" if value is None else f"{value:,.2f}",
        "percent": lambda share: "–" if share is None else f"{_number(100 * share)}%",
        "signed": lambda value: "–" if value is None else f"{value:+.2f}".replace("-", "−"),
        "code_spans": lambda text: list(enumerate(str(text).split("`"))),
        "cell": _cell,
    }
    version = hashlib.sha256(stylesheet().encode()).hexdigest()[:12]
    environment.globals |= {
        "prefix": PREFIX,
        "stylesheet_address": f"{PREFIX}/explorer.css?v={version}",
        # Pages of problems have none.
        "release": None,
        "is_old": False,
        "age": "",
        "query": "",
        "home_pages": {},
        "current_page": "",
        "has_links": False,
    }
    return environment


def _number(value: float | None, digits: int = 1) -> str:
    """A number with at most so many digits after the point; – for none."""
    if value is None:
        return "–"
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _cell(value: Any) -> str:
    """A value of a table that is not known here, such as one of a plugin."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return value.isoformat() if isinstance(value, dt.date) else str(value)


_REPLACED = {b"content-type", b"content-length", *(name.encode() for name in HEADERS)}


class ProblemPages:
    """Turns answers of problem+json to the explorer's addresses into pages.

    It is in front of the gate, so that what the gate refuses (a missing key, too many requests) is
    a page too. Status and other headers stay.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request by the application behind it."""
        if scope["type"] != "http" or not _is_explorer(scope["path"]):
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        body = b""

        async def send_page(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and _is_problem(message):
                start = message
                return
            if start is None:
                await send(message)
                return
            body += message.get("body", b"")
            if not message.get("more_body"):
                await _send(send, start, body)

        await self._app(scope, receive, send_page)


def _is_explorer(path: str) -> bool:
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def _is_problem(message: Message) -> bool:
    return (b"content-type", CONTENT_TYPE.encode()) in message["headers"]


async def _send(send: Send, start: Message, body: bytes) -> None:
    # An answer to HEAD has no body.
    text = render("problem.html", problem=orjson.loads(body)).encode() if body else b""
    headers = [(name, value) for name, value in start["headers"] if name not in _REPLACED]
    headers += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    headers.append((b"content-type", b"text/html; charset=utf-8"))
    if text:
        headers.append((b"content-length", b"%d" % len(text)))
    await send({**start, "headers": headers})
    await send({"type": "http.response.body", "body": text})
