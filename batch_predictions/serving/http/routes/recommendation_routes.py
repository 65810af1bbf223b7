"""`/v1/recommendations`: lists of one user, and of many."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import orjson
from fastapi import APIRouter, Request, Response

from batch_predictions.serving.http.answer_models import Batch, BatchAnswer, Recommendations
from batch_predictions.serving.http.answers import conditional_response, etag_of, id_of_request
from batch_predictions.serving.http.current_release import CurrentRelease
from batch_predictions.serving.http.query_parameters import (
    AgeBracket,
    Categories,
    Exclude,
    Gender,
    K,
    Location,
    UserId,
)
from batch_predictions.serving.http.recommendation_answers import (
    DEFAULT_K,
    ListRequest,
    ReadyAnswer,
)
from batch_predictions.serving.http.request_gate import CLIENT
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.tables import RECOMMENDATIONS

USERS_PER_TOKEN = 100
"""Users of a batch that count as one request for the limit of requests."""


def make_router(service: PredictionService) -> APIRouter:
    """Makes the routes of `/v1/recommendations`."""
    router = APIRouter(prefix="/v1", tags=["recommendations"])

    @router.get(
        "/recommendations/{user_id:path}",
        operation_id="get_recommendations",
        response_model=Recommendations,
    )
    async def get_recommendations(
        request: Request,
        user_id: UserId,
        age_bracket: AgeBracket = None,
        gender: Gender = None,
        location: Location = None,
        k: K = DEFAULT_K,
        exclude: Exclude = [],  # noqa: B006
        category: Categories = [],  # noqa: B006
    ) -> Response:
        """The best items for a user.

        Their own list if they have one, else that of the most specific segment of age bracket,
        gender and location, else popular items; `source` says which. Filters take items away, and
        the next best of the other lists fill up: the answer has `k` items as long as the lists of
        the release suffice, and is never empty. A filter that would leave nothing is not applied
        and named in `relaxed`.
        """
        attributes = {"age_bracket": age_bracket, "gender": gender, "location": location}
        list_request = _list_request(service, user_id, attributes, k, exclude, category)
        answers, release = await service.recommend([list_request])
        service.metrics.count_list(answers[0].source)
        now = time.time()
        body = answers[0].body(release, now)
        fixed = answers[0].is_fixed
        return conditional_response(request, release, body, answers[0].etag, now, is_fixed=fixed)

    _add_batch(router, service)
    return router


def _add_batch(router: APIRouter, service: PredictionService) -> None:
    @router.post(
        "/recommendations:batch",
        operation_id="get_recommendations_of_many",
        response_model=BatchAnswer,
    )
    async def get_recommendations_of_many(request: Request, batch: Batch) -> Response:
        """The best items for up to 1,000 users, all of one release, in the order of the users."""
        service.limiter.take(request.scope[CLIENT], math.ceil(len(batch.users) / USERS_PER_TOKEN))
        requests = [
            _list_request(
                service,
                user.user_id,
                {
                    "age_bracket": user.age_bracket,
                    "gender": user.gender,
                    "location": user.location,
                },
                batch.k,
                [*batch.exclude, *user.exclude],
                batch.category,
            )
            for user in batch.users
        ]
        answers, release = await service.recommend(requests)
        for ready in answers:
            service.metrics.count_list(ready.source)
        return _batch_response(request, batch, answers, release)


def _list_request(
    service: PredictionService,
    user_id: str,
    attributes: dict[str, str | None],
    k: int,
    exclude: Sequence[str],
    categories: Sequence[str],
) -> ListRequest:
    return ListRequest(
        user_id=service.ids.normalise("user_id", user_id),
        attributes=attributes,
        k=k,
        exclude=frozenset(service.ids.normalise("item_id", item) for item in exclude),
        categories=frozenset(category.casefold() for category in categories),
    )


def _batch_response(
    request: Request, batch: Batch, answers: Sequence[ReadyAnswer], release: CurrentRelease
) -> Response:
    served, now = release.served, time.time()
    name = RECOMMENDATIONS.name
    head = {"release_id": served.release_id, "as_of": served.day_of(name).isoformat()}
    tail = {
        "source": name,
        "model_version": release.model_version(name),
        "recommendation_id": id_of_request(
            request, served.release_id, batch.model_dump_json().encode()
        ),
    }
    body = b'%b,"age_seconds":%d,%b,"answers":[%b]}' % (
        orjson.dumps(head)[:-1],
        release.age_seconds(now, name),
        orjson.dumps(tail)[1:-1],
        b",".join(answer.body(release, now) for answer in answers),
    )
    etag = etag_of(b"".join(answer.etag for answer in answers))
    return conditional_response(request, release, body, etag, now, is_fixed=False)
