"""`DELETE /v1/users/{user_id}`: erases a user."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from batch_predictions.core.erasures import request_erasure
from batch_predictions.serving.erasure.store_erasure import (
    ErasedKeys,
    erase_posted_rows,
    erase_users,
)
from batch_predictions.serving.http.problems import NO_HOME, ProblemError
from batch_predictions.serving.http.query_parameters import UserId
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.store.store import Store


class ErasureAnswer(BaseModel):
    """A user's erasure has begun."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"status": "pending", "requested_at": "2026-11-25T08:00:00Z"}}
    )

    status: Literal["pending"] = Field(
        description="The serving store has the user no longer; the next `batch-predictions run`, "
        "`erase-user` or `doctor` removes everything else."
    )
    requested_at: dt.datetime = Field(description="When it was recorded, UTC.")


def make_router(service: PredictionService) -> APIRouter:
    """Makes the route that erases a user."""
    router = APIRouter(prefix="/v1", tags=["users"])

    @router.delete(
        "/users/{user_id:path}",
        operation_id="erase_user",
        response_model=ErasureAnswer,
        status_code=202,
    )
    async def erase_user(user_id: UserId) -> ErasureAnswer:
        """Erase a user: from what is served at once, from everything else with the next run.

        The request is recorded before the answer, by a salted hash of the id: no ingest accepts
        the user's rows from now on, and it is not forgotten if a process dies. It may be repeated.
        An id that nobody has is accepted too, so that the answer says nothing of who is known.
        409 where the service has no home folder with a warehouse.
        """
        normalised = service.ids.normalise("user_id", user_id)
        return await service.in_thread(lambda: _erase(service, normalised))

    return router


def _erase(service: PredictionService, user_id: str) -> ErasureAnswer:
    """Records the request, then removes the user from the serving store."""
    settings = service.settings
    if not (settings.home / "warehouse").is_dir():
        raise ProblemError(NO_HOME, "This service has no home folder with a warehouse.")
    erasure = request_erasure(settings.home, user_id, dt.datetime.now(dt.UTC))
    with Store.of(settings) as store:
        keys = ErasedKeys(lambda other: other == user_id, frozenset([user_id]))
        erase_users(store.engine, keys)
    erase_posted_rows(settings, keys)
    service.watcher.refresh()
    return ErasureAnswer(status="pending", requested_at=erasure.requested_at)
