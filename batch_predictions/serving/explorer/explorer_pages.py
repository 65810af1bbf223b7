"""`/explorer`: pages to look predictions up, of the same snapshot and rules as `/v1`.

`/explorer/campaigns` and `/explorer/retention` show audiences, page by page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any
from urllib.parse import quote

import orjson
import sqlalchemy as sa
from fastapi import APIRouter, Query, Response

from batch_predictions.serving.explorer.fan_chart import fan_chart
from batch_predictions.serving.explorer.home_pages import add_home_pages
from batch_predictions.serving.explorer.own_tables import own_table
from batch_predictions.serving.explorer.reads import (
    complete_rows,
    find_matches,
    read_choices,
    read_examples,
    read_item,
    read_titles,
)
from batch_predictions.serving.explorer.rendering import (
    PREFIX,
    bar_lengths,
    explain_reason,
    explain_source,
    liked_item,
    page,
    stylesheet,
)
from batch_predictions.serving.http.current_release import CurrentRelease
from batch_predictions.serving.http.pages import read_page
from batch_predictions.serving.http.problems import NOT_PREDICTED, ProblemError
from batch_predictions.serving.http.query_parameters import (
    AgeBracket,
    CampaignId,
    Gender,
    ItemId,
    Location,
    PageToken,
    Text,
    UserId,
)
from batch_predictions.serving.http.recommendation_answers import ListRequest
from batch_predictions.serving.http.routes.audience_routes import no_audience
from batch_predictions.serving.http.routes.user_routes import UserRows, read_user
from batch_predictions.serving.http.service import PredictionService
from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.lookup.item_lookup import explain_change
from batch_predictions.serving.store.snapshot import ServedRelease
from batch_predictions.tables import (
    CHURN_SCORES,
    PROMOTION_AUDIENCE,
    RETENTION_AUDIENCE,
    TABLES,
    Table,
)
from batch_predictions.tables.release_tables import CONTEXT_TABLES

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
    **values: object,
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


LIST_ITEMS = 20
EVERYWHERE = "all"
"""The location of what is not split by location."""
SearchText = Annotated[Text, Query(alias="q")]
_CSS_HEADERS = {"cache-control": "max-age=86400", "x-content-type-options": "nosniff"}
_SECTION_TABLES = (CHURN_SCORES, RETENTION_AUDIENCE, PROMOTION_AUDIENCE)
"""Tables of users that have a section of their own on the user's page."""


def make_router(service: PredictionService) -> APIRouter:
    """The routes of the pages; OpenAPI does not describe them."""
    router = APIRouter(prefix=PREFIX, include_in_schema=False)
    _add_home(router, service)
    _add_user(router, service)
    _add_item(router, service)
    add_audiences(router, service)
    add_home_pages(router, service)

    @router.get("/explorer.css")
    async def get_stylesheet() -> Response:
        return Response(stylesheet(), media_type="text/css", headers=_CSS_HEADERS)

    return router


def _add_home(router: APIRouter, service: PredictionService) -> None:
    @router.get("")
    @router.get("/")
    async def get_home() -> Response:
        examples, release = await service.look_up(lambda lookup: lookup.read(read_examples))
        descriptions = _describe_tables(service)
        tables = [
            {
                "name": name,
                "rows": entry["rows"],
                "partition": entry["partition"],
                "description": descriptions.get(name, ""),
            }
            for name, entry in release.served.tables.items()
        ]
        return await service.in_thread(
            lambda: page(
                service,
                "home.html",
                release,
                examples=examples,
                tables=tables,
            )
        )

    @router.get("/search")
    async def search(q: SearchText = "") -> Response:
        text = q.strip()
        if not text:
            return _redirect(PREFIX)
        matches, release = await service.look_up(lambda lookup: find_matches(lookup, text))
        if len(matches.exact) == 1:
            return _redirect(f"{PREFIX}/{matches.exact[0]}/{quote(text, safe='')}")
        return await service.in_thread(
            lambda: page(service, "search.html", release, query=text, matches=matches)
        )


def _describe_tables(service: PredictionService) -> dict[str, str]:
    """Descriptions of tables by name: of predictive queries in the settings, the question."""
    declared = (*TABLES.values(), *CONTEXT_TABLES)
    return {
        **{table.name: table.description for table in declared},
        **{name: query.question for name, query in service.settings.predictions.items()},
    }


def _redirect(address: str) -> Response:
    return Response(status_code=303, headers={"location": address, "cache-control": "no-store"})


def _add_user(router: APIRouter, service: PredictionService) -> None:
    @router.get("/users/{user_id:path}")
    async def get_user(
        user_id: UserId,
        age_bracket: AgeBracket = None,
        gender: Gender = None,
        location: Location = None,
    ) -> Response:
        form = {"age_bracket": age_bracket, "gender": gender, "location": location}
        form = {name: value.strip() if value else None for name, value in form.items()}
        request = ListRequest(service.ids.normalise("user_id", user_id), form, LIST_ITEMS)

        def read(lookup: Lookup) -> dict[str, Any]:
            return lookup.read(
                lambda db, served: _user_values(
                    read_user(service, db, served, request),
                    served,
                    lambda ids: read_titles(db, served, ids),
                    lambda: read_choices(db, served),
                )
            )

        values, release = await service.look_up(read)
        return await service.in_thread(
            lambda: page(
                service,
                "user.html",
                release,
                user_id=request.user_id,
                form=form,
                descriptions=_describe_tables(service),
                **values,
            )
        )


def _user_values(
    user_rows: UserRows,
    served: ServedRelease,
    titles_of: Callable[[list[str]], dict[str, str]],
    choices_of: Callable[[], dict[str, list[str]]],
) -> dict[str, object]:
    """The values of a user's page; titles and choices of the form are read in the same snapshot."""
    recommendations = orjson.loads(user_rows.ready.with_age(0))
    items = recommendations["items"]
    predictions = user_rows.predictions
    churn, retention, promotions = (
        complete_rows(predictions.get(table.name, []), table) for table in _SECTION_TABLES
    )
    item_ids = [liked for item in items if (liked := liked_item(item["reason"]))]
    item_ids += [item for row in retention for item in row["offer_item_ids"] or ()]
    item_ids += [item for row in promotions for item in row["item_ids"] or ()]
    sections = {table.name for table in (*_SECTION_TABLES, *CONTEXT_TABLES)}
    own_tables = [
        own_table(served, name, rows, "user_id")
        for name, rows in predictions.items()
        if name not in sections
    ]
    item_ids += [row["item_id"] for own in own_tables for row in own.rows if row.get("item_id")]
    titles = titles_of(item_ids)
    for source in {item["source"] for item in items}:
        # Scores of different lists cannot be compared.
        part = [item for item in items if item["source"] == source]
        lengths = bar_lengths([item["score"] for item in part])
        for item, length in zip(part, lengths, strict=True):
            item["bar"] = length
    for item in items:
        item["reason_text"] = explain_reason(item["reason"], titles)
    is_personal = recommendations["source"] == "personal"
    return {
        "recommendations": recommendations,
        "source_text": explain_source(recommendations["source"], recommendations["segment"]),
        "attributes": user_rows.attributes,
        "history": user_rows.history,
        "history_ids": {item["item_id"] for item in user_rows.history or ()},
        "listed_ids": {item["item_id"] for item in items},
        "churn": churn,
        "retention": retention,
        "promotions": promotions,
        "own_tables": own_tables,
        "titles": titles,
        # A personal list does not depend on attributes.
        "choices": None if is_personal else choices_of(),
    }


def _add_item(router: APIRouter, service: PredictionService) -> None:
    @router.get("/items/{item_id:path}")
    async def get_item(item_id: ItemId, location: Location = None) -> Response:
        item_id = service.ids.normalise("item_id", item_id)
        item, release = await service.look_up(lambda lookup: read_item(lookup, item_id))
        if item.is_empty:
            raise ProblemError(
                NOT_PREDICTED,
                f"Release {release.served.release_id} does not know the item {item_id}.",
            )
        locations = list(dict.fromkeys(row["location"] for row in item.forecasts))
        choices = [location, EVERYWHERE, *locations]
        selected = next((choice for choice in choices if choice in locations), None)
        rows = [row for row in item.forecasts if row["location"] == selected]
        sentiment = item.sentiment
        return await service.in_thread(
            lambda: page(
                service,
                "item.html",
                release,
                item_id=item_id,
                item=item,
                descriptions=_describe_tables(service),
                forecasts=rows,
                chart=fan_chart(rows),
                locations=locations,
                location=selected,
                lead_times=[row for row in item.lead_times if row["location"] == selected],
                sentiment=sentiment,
                verdict=explain_change(sentiment["sentiment"]) if sentiment else "",
            )
        )
