"""`/v1/audiences`: customers to contact, as pages of JSON or as CSV."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from batch_predictions.serving.http.answer_models import CampaignPage, RetentionPage
from batch_predictions.serving.http.answers import (
    CSV_RESPONSE,
    Format,
    answer,
    csv_response,
    wants_csv,
)
from batch_predictions.serving.http.pages import read_page
from batch_predictions.serving.http.problems import NOT_PREDICTED, ProblemError
from batch_predictions.serving.http.query_parameters import (
    DEFAULT_LIMIT,
    CampaignId,
    Limit,
    PageToken,
)
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.store.snapshot import ServedRelease
from batch_predictions.tables import PROMOTION_AUDIENCE, RETENTION_AUDIENCE

WithHeldOut = Annotated[
    bool,
    Query(
        description="With the customers who are held out: do not contact them, so that the effect "
        "of contacting the others can be measured.",
    ),
]


def no_audience(campaign: str, served: ServedRelease) -> ProblemError:
    """The problem of a campaign without an audience in a release."""
    return ProblemError(
        NOT_PREDICTED,
        f"Release {served.release_id} has no audience of the campaign {campaign}: it is neither "
        "live nor about to start.",
    )


def make_router(service: PredictionService) -> APIRouter:
    """Makes the routes of `/v1/audiences`."""
    router = APIRouter(prefix="/v1/audiences", tags=["audiences"])

    @router.get(
        "/retention",
        operation_id="get_retention_audience",
        response_model=RetentionPage,
        responses=CSV_RESPONSE,
    )
    async def get_retention_audience(
        request: Request,
        limit: Limit = DEFAULT_LIMIT,
        page_token: PageToken = None,
        with_held_out: WithHeldOut = False,
        format: Format = None,
    ) -> Response:
        """Inactive customers to win back, highest expected value first.

        As CSV (`format=csv`, or `Accept: text/csv`) all rows come at once, whatever `limit` says.
        """
        key = {} if with_held_out else {"held_out": False}
        if wants_csv(request, format):
            return await csv_response(service, RETENTION_AUDIENCE.name, key)
        page, release = await read_page(service, RETENTION_AUDIENCE.name, key, limit, page_token)
        return answer(request, release, RETENTION_AUDIENCE.name, page, page["rows"])

    _add_campaigns(router, service)
    return router


def _add_campaigns(router: APIRouter, service: PredictionService) -> None:
    @router.get(
        "/promotions/{campaign_id:path}",
        operation_id="get_promotion_audience",
        response_model=CampaignPage,
        responses=CSV_RESPONSE,
    )
    async def get_promotion_audience(
        request: Request,
        campaign_id: CampaignId,
        limit: Limit = DEFAULT_LIMIT,
        page_token: PageToken = None,
        with_held_out: WithHeldOut = False,
        format: Format = None,
    ) -> Response:
        """Customers of a campaign, highest score first.

        As CSV (`format=csv`, or `Accept: text/csv`) all rows come at once, whatever `limit` says.
        """
        table = PROMOTION_AUDIENCE.name
        campaign = service.ids.normalise("campaign_id", campaign_id)
        key: dict[str, object] = {"campaign_id": campaign}
        if not with_held_out:
            key["held_out"] = False
        if wants_csv(request, format):
            return await csv_response(service, table, key, partial(no_audience, campaign))
        page, release = await read_page(service, table, key, limit, page_token)
        if not page["rows"] and page_token is None:
            raise no_audience(campaign, release.served)
        content = {"campaign_id": campaign, **page}
        return answer(request, release, table, content, page["rows"])
