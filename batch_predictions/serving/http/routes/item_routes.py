"""`/v1/items` and `/v1/orders`: sentiment and demand of an item, and what to order now."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from batch_predictions.serving.http.answer_models import ForecastAnswer, OrdersPage, SentimentAnswer
from batch_predictions.serving.http.answers import answer
from batch_predictions.serving.http.pages import PagePosition, decode_token, encode_token
from batch_predictions.serving.http.problems import NOT_PREDICTED, WRONG_PAGE_TOKEN, ProblemError
from batch_predictions.serving.http.query_parameters import (
    DEFAULT_LIMIT,
    ItemId,
    Limit,
    PageToken,
    Text,
)
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.lookup.item_lookup import (
    FORECASTS,
    ORDERS,
    SENTIMENTS,
    forecast,
    item_sentiment,
    orders,
)

ForecastLocation = Annotated[
    Text | None,
    Query(description="One location only; all where not split by location.", examples=["all"]),
]


def make_router(service: PredictionService) -> APIRouter:
    """Makes the routes of `/v1/items` and `/v1/orders`."""
    router = APIRouter(prefix="/v1", tags=["items"])

    @router.get(
        "/items/{item_id:path}/sentiment",
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
        return answer(
            request, release, SENTIMENTS, {name: sentiment[name] for name in names}, [row]
        )

    @router.get(
        "/items/{item_id:path}/forecast",
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

    _add_orders(router, service)
    return router


MAX_OFFSET = 2**62
OneItem = Annotated[Text | None, Query(description="One item only.", examples=["1082185"])]


def _add_orders(router: APIRouter, service: PredictionService) -> None:
    """Makes the route of `/v1/orders`."""

    @router.get("/orders", operation_id="get_orders", response_model=OrdersPage)
    async def get_orders(
        request: Request,
        item_id: OneItem = None,
        limit: Limit = DEFAULT_LIMIT,
        page_token: PageToken = None,
    ) -> Response:
        """What to order now, with reorder point and safety stock, largest orders first."""
        position = decode_token(page_token, ORDERS, {"item_id": item_id})
        offset = _offset(position)
        page, release = await service.look_up(
            lambda lookup: orders(lookup, item_id, limit + 1, offset), position.release_id
        )
        rows: list[dict[str, object]] = page["orders"]
        token = None
        if len(rows) > limit:
            del rows[limit:]
            following = PagePosition(release.served.release_id, (offset + limit,))
            token = encode_token(following, ORDERS, {"item_id": item_id})
        return answer(request, release, ORDERS, {"rows": rows, "next_page_token": token}, rows)


def _offset(position: PagePosition) -> int:
    if position.after is None:
        return 0
    [offset] = position.after if len(position.after) == 1 else [None]
    if isinstance(offset, int) and 0 <= offset < MAX_OFFSET:
        return offset
    raise ProblemError(WRONG_PAGE_TOKEN, "page_token cannot be read.")
