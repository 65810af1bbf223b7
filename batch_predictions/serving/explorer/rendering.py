"""Renders templates as answers that run no script and load nothing from elsewhere."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.responses import Response

from batch_predictions.serving.explorer.wording import age_in_words
from batch_predictions.serving.http.current_release import CurrentRelease
from batch_predictions.serving.http.service import PredictionService

if TYPE_CHECKING:
    import jinja2

FOLDER = Path(__file__).parent
PREFIX = "/explorer"
WARN_AGE_HOURS = 36.0
"""A release of which the day ended longer ago is called old, where http.max_age_hours is empty."""
HEADERS = {
    "content-security-policy": (
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
        **values,
    )
    headers = {**HEADERS, "cache-control": "private, no-cache"}
    return Response(text, media_type="text/html; charset=utf-8", headers=headers)


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
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return value.isoformat() if isinstance(value, dt.date) else str(value)
