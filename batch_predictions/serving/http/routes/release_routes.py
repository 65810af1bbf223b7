"""`/v1/releases`: what could be served."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from batch_predictions.serving.http.answer_models import ReleasesAnswer
from batch_predictions.serving.http.answers import answer
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.store.pointer import Release, all_releases


def make_router(service: PredictionService) -> APIRouter:
    """Makes the route of `/v1/releases`."""
    router = APIRouter(prefix="/v1", tags=["releases"])

    @router.get("/releases", operation_id="get_releases", response_model=ReleasesAnswer)
    async def get_releases(request: Request) -> Response:
        """The complete releases of the store, newest day first, and which one is served.

        `batch-predictions releases rollback` serves the one before again.
        """

        def read(lookup: Lookup) -> list[Release]:
            return lookup.read(lambda db, _: all_releases(db))

        stored, release = await service.look_up(read)
        releases = [
            {
                "release_id": entry.release_id,
                "as_of": entry.as_of,
                "created_at": entry.created_at,
                "current": entry.release_id == release.served.release_id,
                "withdrawn_at": entry.withdrawn_at,
                "rows": entry.rows,
            }
            for entry in stored
            if entry.status == "ready"
        ]
        return answer(request, release, "releases", {"releases": releases}, is_fixed=False)

    return router
