"""`/v1/events`: what users did with the lists that they were shown."""

from __future__ import annotations

import math

from fastapi import APIRouter, Request, Response

from batch_predictions.serving.http.answers import to_json
from batch_predictions.serving.http.posted_models import EventBatch, EventsAnswer, InvalidEvent
from batch_predictions.serving.http.problems import WRONG_REQUEST, ProblemError
from batch_predictions.serving.http.request_gate import CLIENT
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.sources.posted_rows.posted_schema import POSTED_EVENTS

EVENTS_PER_TOKEN = 100
"""Events that count as one request for the limit of requests."""
MAX_ERRORS = 20


def make_router(service: PredictionService) -> APIRouter:
    """Makes the route of `/v1/events`."""
    router = APIRouter(prefix="/v1", tags=["feedback"])

    @router.post("/events", operation_id="post_events", response_model=EventsAnswer)
    async def post_events(request: Request, batch: EventBatch) -> Response:
        """Stores impressions, clicks and purchases of up to 1,000 items.

        When the answer is 200, all events that are not in `refused` survive a crash of the service
        and of its machine. If there is no answer, or it is 503, send the same events again: an
        event counts once, by `event_id`. If all events are refused, the answer is 422.
        """
        service.require_place_for_writes()
        events = batch.events
        service.limiter.take(request.scope[CLIENT], math.ceil(len(events) / EVENTS_PER_TOKEN))
        rows, refused = service.posting.event_rows(events)
        if len(refused) == len(events):
            service.metrics.count_events(0, 0, len(refused))
            raise _all_refused(refused)
        accepted = await service.writer.write(POSTED_EVENTS, rows)
        duplicates = len(events) - len(refused) - accepted
        service.metrics.count_events(accepted, duplicates, len(refused))
        content: dict[str, object] = {
            "accepted": accepted,
            "duplicates": duplicates,
            "refused": [
                {"index": index, "event_id": event.event_id, "errors": event.errors}
                for index, event in refused.items()
            ],
        }
        return Response(to_json(content), media_type="application/json")

    return router


def _all_refused(refused: dict[int, InvalidEvent]) -> ProblemError:
    errors = [
        {"where": f"body.events.{index}.{error['where']}", "problem": error["problem"]}
        for index, event in refused.items()
        for error in event.errors
    ]
    detail = f"No event is valid. {errors[0]['where']}: {errors[0]['problem']}"
    return ProblemError(WRONG_REQUEST, detail, errors=errors[:MAX_ERRORS])
