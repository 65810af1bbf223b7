"""Routes for load balancers and Prometheus: health, readiness, metrics, kinds of problems."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from batch_predictions.serving.http.answer_models import Health, ProblemKind, Readiness
from batch_predictions.serving.http.problems import (
    NOT_FOUND,
    PROBLEM_TYPES,
    RELEASE_TOO_OLD,
    ProblemError,
)
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.http.service_metrics import CONTENT_TYPE

ProblemName = Annotated[
    str, Path(description="Name of the kind of error.", examples=["no-release"])
]
_NO_STORE = {"cache-control": "no-store"}


def make_router(service: PredictionService) -> APIRouter:
    """Makes the routes of health, readiness, metrics and kinds of problems."""
    router = APIRouter(tags=["operation"])

    @router.get("/healthz", operation_id="get_health", response_model=Health)
    async def get_health(response: Response) -> dict[str, str]:
        """Whether the process answers. Needs no key."""
        response.headers.update(_NO_STORE)
        return {"status": "ok"}

    @router.get("/readyz", operation_id="get_readiness", response_model=Readiness)
    async def get_readiness(response: Response) -> dict[str, Any]:
        """Whether lookups can be answered. Needs no key.

        503 where nothing has been released yet, the store has not answered for 10 seconds, or the
        release is older than `http.max_age_hours`. `refused_files` counts damaged release files.
        """
        response.headers.update(_NO_STORE)
        release = service.watcher.require()
        age = release.age_seconds(time.time())
        limit = service.settings.http.max_age_hours
        if limit is not None and age > limit * 3600:
            raise ProblemError(
                RELEASE_TOO_OLD,
                f"Release {release.served.release_id} is {age / 3600:.1f} hours old, more than "
                f"{limit:g}.",
            )
        return {
            "status": "ready",
            "release_id": release.served.release_id,
            "as_of": release.served.as_of,
            "age_seconds": age,
            "refused_files": service.refused_files,
        }

    @router.get(
        "/metrics",
        operation_id="get_metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def get_metrics() -> Response:
        """Requests, latencies, lists by source, age and rows of the release, for Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE, headers=_NO_STORE)

    @router.get("/problems/{name}", operation_id="get_problem", response_model=ProblemKind)
    async def get_problem(name: ProblemName) -> dict[str, Any]:
        """What a kind of error means, and how to correct it. Needs no key."""
        kind = PROBLEM_TYPES.get(name)
        if kind is None:
            raise ProblemError(NOT_FOUND, f"Kinds of errors: {', '.join(PROBLEM_TYPES)}.")
        return {
            "type": f"/problems/{kind.name}",
            "title": kind.title,
            "status": kind.status,
            "what_to_do": kind.remedy,
        }

    return router
