"""`/v1/orders`: what to order now."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from batch_predictions.serving.http.answer_models import OrdersPage
from batch_predictions.serving.http.answers import answer
from batch_predictions.serving.http.page_tokens import PagePosition, decode_token, encode_token
from batch_predictions.serving.http.problems import WRONG_PAGE_TOKEN, ProblemError
from batch_predictions.serving.http.query_parameters import DEFAULT_LIMIT, Limit, PageToken, Text
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.lookup.demand_lookup import ORDERS, orders

MAX_OFFSET = 2**62
OneItem = Annotated[Text | None, Query(description="One item only.", examples=["1082185"])]


def make_router(service: PredictionService) -> APIRouter:
    """Makes the route of `/v1/orders`."""
    router = APIRouter(prefix="/v1", tags=["items"])

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

    return router


def _offset(position: PagePosition) -> int:
    if position.after is None:
        return 0
    [offset] = position.after if len(position.after) == 1 else [None]
    if isinstance(offset, int) and 0 <= offset < MAX_OFFSET:
        return offset
    raise ProblemError(WRONG_PAGE_TOKEN, "page_token cannot be read.")
