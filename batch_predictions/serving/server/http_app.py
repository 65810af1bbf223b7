"""The service as an ASGI application."""

from __future__ import annotations

import gc
import logging
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sqlalchemy as sa
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from batch_predictions.core.read_only import StoreError
from batch_predictions.core.redaction import redact_logs
from batch_predictions.serving.explorer import explorer_pages as explorer
from batch_predictions.serving.explorer.rendering import ProblemPages
from batch_predictions.serving.http.problems import (
    CONTENT_TYPE,
    FAULT,
    NOT_FOUND,
    WRONG_METHOD,
    WRONG_REQUEST,
    ProblemError,
    ProblemType,
    fault,
    problem_of,
)
from batch_predictions.serving.http.request_gate import App, Gate
from batch_predictions.serving.http.routes import (
    audience_routes,
    event_routes,
    health_routes,
    item_routes,
    recommendation_routes,
    release_routes,
    table_routes,
    user_routes,
)
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.server.list_route import ListRoute
from batch_predictions.serving.server.openapi import DESCRIPTION, TAGS, describe
from batch_predictions.serving.store.pointer import ReleaseError
from batch_predictions.settings import Settings
from batch_predictions.sources.posted_rows.writer import WritesBusyError, WritesUnavailableError

API_VERSION = "1"
SWITCH_SECONDS = 0.0005
"""How long a thread that reads a batch may keep others from answering (Python's default: .005)."""
GC_THRESHOLDS = (20_000, 20, 20)
_SUBJECTS = (
    recommendation_routes,
    user_routes,
    event_routes,
    audience_routes,
    item_routes,
    table_routes,
    release_routes,
    health_routes,
)
_CORS_HEADERS = ["Authorization", "X-API-Key", "Content-Type", "If-None-Match"]


def make_worker_app() -> App:
    """The application of a process of its own, of the home that the environment names."""
    settings = Settings.load()
    redact_logs()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    app = make_app(PredictionService(settings))
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(*GC_THRESHOLDS)
    # What is loaded stays: without this, every full search for cycles stops answers for 50 ms.
    gc.collect()
    gc.freeze()
    return app


def make_app(service: PredictionService) -> App:
    """The application: the gate, the quick route of lists, and FastAPI."""
    app: App = Gate(ListRoute(make_api(service), service), service)
    if service.settings.http.explorer:
        app = ProblemPages(app)
    origins = service.settings.http.cors_origins
    if origins:
        app = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
            allow_headers=_CORS_HEADERS,
            expose_headers=["ETag", "Retry-After"],
            max_age=600,
        )
    return app


def make_api(service: PredictionService) -> FastAPI:
    """The FastAPI application: every route, and its description."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    api = FastAPI(
        title="batch_predictions",
        version=API_VERSION,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    for subject in _SUBJECTS:
        api.include_router(subject.make_router(service))
    if service.settings.http.explorer:
        api.include_router(explorer.make_router(service))
    api.add_exception_handler(RequestValidationError, _answer_invalid)
    api.add_exception_handler(HTTPException, _answer_http_error)
    for kind in (
        ProblemError,
        WritesBusyError,
        WritesUnavailableError,
        ReleaseError,
        StoreError,
        sa.exc.SQLAlchemyError,
        sqlite3.Error,
    ):
        api.add_exception_handler(kind, _answer_error)
    # Starlette raises the error again after this answer; the gate logs it.
    api.add_exception_handler(Exception, _answer_error)
    api.openapi = lambda: describe(api)  # type: ignore[method-assign]
    return api


def _response(problem: ProblemError) -> Response:
    headers = {name.decode(): value.decode() for name, value in problem.raw_headers}
    return Response(problem.body, problem.type.status, headers=headers, media_type=CONTENT_TYPE)


async def _answer_error(_: Request, error: Exception) -> Response:
    return _response(problem_of(error) or fault())


async def _answer_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors: list[dict[str, object]] = [
        {"where": ".".join(map(str, entry["loc"])), "problem": entry["msg"]}
        for entry in error.errors()
    ]
    detail = "; ".join(f"{entry['where']}: {entry['problem']}" for entry in errors[:3])
    return _response(ProblemError(WRONG_REQUEST, detail, errors=errors[:20]))


async def _answer_http_error(_: Request, error: Exception) -> Response:
    """Errors of Starlette: unknown addresses and methods, bodies that cannot be read."""
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, ProblemError):
        # The gate has refused a body while FastAPI read it.
        return _response(error.__cause__)
    kinds: dict[int, ProblemType] = {404: NOT_FOUND, 405: WRONG_METHOD}
    kind = kinds.get(error.status_code, WRONG_REQUEST if error.status_code < 500 else FAULT)
    return _response(ProblemError(kind, f"{error.detail}.", dict(error.headers or {})))
