"""`/v1/users/{user_id}`: everything that is predicted of a user; sign-ups; erasure."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any, Literal, NamedTuple

import orjson
import sqlalchemy as sa
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from batch_predictions.core.erasures import ErasedKeys, record_known, request_erasure
from batch_predictions.serving.erasure.store_erasure import erase_posted_rows, erase_users
from batch_predictions.serving.http.answer_models import UserAnswer
from batch_predictions.serving.http.answers import answer, etag_of, to_json
from batch_predictions.serving.http.current_release import CurrentRelease
from batch_predictions.serving.http.posted_models import SignUp, SignUpAnswer
from batch_predictions.serving.http.problems import NO_HOME, ProblemError
from batch_predictions.serving.http.query_parameters import UserId
from batch_predictions.serving.http.recommendation_answers import (
    ListRequest,
    ReadyAnswer,
    make_answer,
)
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.lookup.rows import read_table_rows
from batch_predictions.serving.lookup.user_lookup import HISTORY, read_history
from batch_predictions.serving.store.snapshot import ServedRelease, execute
from batch_predictions.serving.store.store import USERS, Store
from batch_predictions.sources.posted_rows.posted_schema import POSTED_USERS
from batch_predictions.tables import RECOMMENDATIONS

_ATTRIBUTES = ("age_bracket", "gender", "location", "signed_up_on")
_USER = sa.select(*(USERS.c[name] for name in _ATTRIBUTES)).where(
    USERS.c.release_id == sa.bindparam("release_id"), USERS.c.user_id == sa.bindparam("user_id")
)


class UserRows(NamedTuple):
    """Everything that a release has of a user: list, attributes, predictions and history."""

    ready: ReadyAnswer
    attributes: dict[str, Any] | None
    predictions: dict[str, list[dict[str, Any]]]
    history: list[dict[str, Any]] | None


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
    """Makes the routes of `/v1/users/{user_id}`."""
    router = APIRouter(prefix="/v1", tags=["users"])

    @router.get("/users/{user_id:path}", operation_id="get_user", response_model=UserAnswer)
    async def get_user(request: Request, user_id: UserId) -> Response:
        """Everything that is predicted of a user, in one release.

        The list of recommendations, and the rows of every table that has the user as its first key
        or an index of users: churn, retention and promotions, and tables of plugins. Beside it,
        `history`: the items of the user's newest events.
        """
        list_request = ListRequest(service.ids.normalise("user_id", user_id), {})

        def read(lookup: Lookup) -> UserRows:
            return lookup.read(lambda db, served: read_user(service, db, served, list_request))

        (ready, attributes, predictions, history), release = await service.look_up(read)
        service.metrics.count_list(ready.source)
        now = time.time()
        listed = orjson.loads(ready.body(release, now))
        content = {
            "user_id": list_request.user_id,
            "attributes": attributes,
            "recommendations": listed,
            "predictions": predictions,
            "history": history,
        }
        ageless = {**content, "recommendations": ready.etag.decode()}
        etag = etag_of(release.served.release_id.encode() + to_json(ageless))
        return answer(
            request, release, RECOMMENDATIONS.name, content, is_fixed=False, etag=etag, now=now
        )

    _add_sign_up(router, service)
    _add_erasure(router, service)
    return router


def _add_sign_up(router: APIRouter, service: PredictionService) -> None:
    @router.put("/users/{user_id:path}", operation_id="put_user", response_model=SignUpAnswer)
    async def put_user(user_id: UserId, sign_up: SignUp) -> Response:
        """Stores the attributes of a user, such as of somebody who signed up just now.

        The next lookup by the id alone uses them: a user without a personal list gets that of the
        segment. They replace those of an earlier request, and survive a crash of the service. The
        next ingest adds the user to the raw users, unless the source has the user: then the
        source's row counts from the next release on.
        """
        service.require_place_for_writes()
        row = service.posting.user_row(user_id, sign_up)
        await service.writer.write(POSTED_USERS, [row])
        content = {name: row[name] for name in ("user_id", *_ATTRIBUTES)}
        return Response(to_json(content), media_type="application/json")


def _add_erasure(router: APIRouter, service: PredictionService) -> None:
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


def _erase(service: PredictionService, user_id: str) -> ErasureAnswer:
    """Records the request, then removes the user from the serving store."""
    settings = service.settings
    if not (settings.home / "warehouse").is_dir():
        raise ProblemError(NO_HOME, "This service has no home folder with a warehouse.")
    erasure = request_erasure(settings.home, user_id, dt.datetime.now(dt.UTC))
    with Store.of(settings) as store:
        keys = ErasedKeys(lambda other: other == user_id, frozenset([user_id]))
        rows = erase_users(store.engine, keys)
    if rows + erase_posted_rows(settings, keys):
        record_known(settings.home, {erasure.hash})
    service.watcher.refresh()
    return ErasureAnswer(status="pending", requested_at=erasure.requested_at)


def read_user(
    service: PredictionService, db: sa.Connection, served: ServedRelease, request: ListRequest
) -> UserRows:
    """Reads everything that a release has of a user, in one snapshot.

    Args:
        service: the service.
        db: a connection in the snapshot.
        served: the release of the snapshot.
        request: the user, and the list that the answer includes.
    """
    release = service.watcher.release_of(served)

    def run(statement: sa.Select[Any], values: Any) -> Any:
        return execute(db, statement, values)

    ready = make_answer(run, served, release, request, service.posted_users, service.experiments)
    key = {"release_id": served.release_id, "user_id": request.user_id}
    row = db.execute(_USER, key).one_or_none()
    predictions = {
        name: rows
        for name in _tables_by_user(db, served, release)
        if (rows := read_table_rows(db, served, name, {"user_id": request.user_id}))
    }
    stored = dict(zip(_ATTRIBUTES, row, strict=True)) if row else None
    attributes = service.posted_users.complete(request.user_id, served.as_of, stored)
    history = read_history(db, served, request.user_id)
    return UserRows(ready, dict(attributes) if attributes else None, predictions, history)


def _tables_by_user(
    db: sa.Connection, served: ServedRelease, release: CurrentRelease
) -> tuple[str, ...]:
    """Tables of which the rows of a user are found without a scan; found once per release."""
    if release.by_user is None:
        inspector = sa.inspect(db)
        names = []
        for name, entry in served.tables.items():
            if name in (RECOMMENDATIONS.name, HISTORY) or "user_id" not in entry["columns"]:
                continue
            indexes = [index["column_names"][1:2] for index in inspector.get_indexes(name)]
            if entry["key"][0] == "user_id" or ["user_id"] in indexes:
                names.append(name)
        release.by_user = tuple(names)
    return release.by_user
