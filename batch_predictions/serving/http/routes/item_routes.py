"""`/v1/items`: sentiment and demand of an item."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from batch_predictions.serving.http.answer_models import ForecastAnswer, SentimentAnswer
from batch_predictions.serving.http.answers import answer
from batch_predictions.serving.http.problems import NOT_PREDICTED, ProblemError
from batch_predictions.serving.http.query_parameters import ItemId, Text
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.lookup.demand_lookup import FORECASTS, forecast
from batch_predictions.serving.lookup.sentiment_lookup import ITEMS, item_sentiment

ForecastLocation = Annotated[
    Text | None,
    Query(description="One location only; all where not split by location.", examples=["all"]),
]


def make_router(service: PredictionService) -> APIRouter:
    """Makes the routes of `/v1/items`."""
    router = APIRouter(prefix="/v1/items", tags=["items"])

    @router.get(
        "/{item_id:path}/sentiment",
        operation_id="get_item_sentiment",
        response_model=SentimentAnswer,
    )
    async def get_item_sentiment(request: Request, item_id: ItemId) -> Response:
        """Sentiment of an item's reviews in the newest week, its change, its terms, and quotes."""
        sentiment, release = await service.look_up(lambda lookup: item_sentiment(lookup, item_id))
        row = sentiment["sentiment"]
        if row is None:
            raise ProblemError(
                NOT_PREDICTED, f"The item has no scored review in the week of {sentiment['week']}."
            )
        names = ("item_id", "week", "sentiment", "aspects", "examples", "quotes")
        return answer(request, release, ITEMS, {name: sentiment[name] for name in names}, [row])

    @router.get(
        "/{item_id:path}/forecast",
        operation_id="get_item_forecast",
        response_model=ForecastAnswer,
    )
    async def get_item_forecast(
        request: Request, item_id: ItemId, location: ForecastLocation = None
    ) -> Response:
        """Expected units of an item on each of the next days, and over the times of orders."""
        demand, release = await service.look_up(lambda lookup: forecast(lookup, item_id, location))
        rows = demand["forecasts"]
        if not rows:
            raise ProblemError(
                NOT_PREDICTED, f"Release {release.served.release_id} has no forecast of this."
            )
        names = ("item_id", "forecasts", "lead_time_demand")
        return answer(request, release, FORECASTS, {name: demand[name] for name in names}, rows)

    return router
