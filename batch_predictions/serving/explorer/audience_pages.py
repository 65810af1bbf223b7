"""`/explorer/campaigns` and `/explorer/retention`: audiences, page by page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from fastapi import APIRouter, Response

from batch_predictions.serving.explorer.reads import complete_rows, read_titles
from batch_predictions.serving.explorer.rendering import PREFIX, page
from batch_predictions.serving.http.current_release import CurrentRelease
from batch_predictions.serving.http.pages import read_page
from batch_predictions.serving.http.query_parameters import CampaignId, PageToken
from batch_predictions.serving.http.routes.audience_routes import no_audience
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.store.snapshot import ServedRelease
from batch_predictions.tables import PROMOTION_AUDIENCE, RETENTION_AUDIENCE, Table

PAGE_ROWS = 50


def add_audiences(router: APIRouter, service: PredictionService) -> None:
    """Adds the routes of both audiences."""

    @router.get("/retention")
    async def get_retention(page_token: PageToken = None) -> Response:
        table, key = RETENTION_AUDIENCE, {"held_out": False}
        content, release = await read_page(service, table.name, key, PAGE_ROWS, page_token)
        return await _page(
            service,
            release,
            "retention.html",
            table,
            content,
            items_column="offer_item_ids",
            address=f"{PREFIX}/retention",
            csv_address="/v1/audiences/retention?format=csv",
            is_first=page_token is None,
        )

    @router.get("/campaigns/{campaign_id:path}")
    async def get_campaign(campaign_id: CampaignId, page_token: PageToken = None) -> Response:
        campaign = service.ids.normalise("campaign_id", campaign_id)
        table = PROMOTION_AUDIENCE
        key = {"campaign_id": campaign, "held_out": False}
        content, release = await read_page(service, table.name, key, PAGE_ROWS, page_token)
        if not content["rows"] and page_token is None:
            raise no_audience(campaign, release.served)
        address = quote(campaign, safe="")
        return await _page(
            service,
            release,
            "campaign.html",
            table,
            content,
            items_column="item_ids",
            campaign_id=campaign,
            address=f"{PREFIX}/campaigns/{address}",
            csv_address=f"/v1/audiences/promotions/{address}?format=csv",
            is_first=page_token is None,
        )


async def _page(
    service: PredictionService,
    release: CurrentRelease,
    template: str,
    table: Table,
    content: Mapping[str, Any],
    items_column: str,
    **values: Any,
) -> Response:
    """A page of an audience; titles are read in the release of its rows."""
    rows = complete_rows(content["rows"], table)
    items = {item for row in rows for item in row[items_column] or ()}

    def read(db: sa.Connection, served: ServedRelease) -> dict[str, str]:
        return read_titles(db, served, items)

    release_id = release.served.release_id
    titles, _ = await service.look_up(lambda lookup: lookup.read(read), release_id)
    return await service.in_thread(
        lambda: page(
            service,
            template,
            release,
            rows=rows,
            titles=titles,
            next_page_token=content["next_page_token"],
            **values,
        )
    )
