"""Models of what the routes take and answer, for OpenAPI. Keys that are documented here stay."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from batch_predictions.serving.http import answer_examples
from batch_predictions.serving.http.query_parameters import Id, Text
from batch_predictions.serving.http.recommendation_answers import (
    DEFAULT_K,
    MAX_FILTER_VALUES,
    MAX_K,
)
from batch_predictions.serving.http.row_models import (
    AspectRow,
    Attributes,
    CampaignRow,
    ForecastRow,
    HistoryItem,
    LeadTimeRow,
    OrderRow,
    Quote,
    RetentionRow,
    ReviewRow,
    SentimentRow,
)

MAX_BATCH_USERS = 1_000
Source = Literal["personal", "demographic", "popular"]


class Answer(BaseModel):
    """What every answer has. Further keys may come; these stay."""

    model_config = ConfigDict(extra="allow")

    release_id: str = Field(description="The release that the whole answer is of.")
    as_of: dt.date = Field(description="Day at whose end it was predicted.")
    age_seconds: int = Field(
        ge=0, description="Seconds since the end of that day, in the source's time zone."
    )
    source: str = Field(description="The table of predictions that it is from.")
    model_version: str | None = Field(
        description="The model that it is from; where rows are of several, the first one's."
    )
    recommendation_id: str = Field(
        description="Names this answer in feedback: equal for the same release and parameters."
    )


class Segment(BaseModel):
    """A demographic segment: its level, and the values that the level fixes."""

    model_config = ConfigDict(extra="allow")

    level: str = Field(description="age_gender_location, age_location, …, everyone.")
    age_bracket: str | None = Field(None, description="Where the level fixes it.")
    gender: str | None = Field(None, description="Where the level fixes it.")
    location: str | None = Field(None, description="Where the level fixes it.")


class RecommendedItem(BaseModel):
    """An item of a list."""

    rank: int = Field(ge=1, description="Position in this answer; 1 is best.")
    item_id: str = Field(description="The item.")
    title: str = Field(description="Its title, or its id where it has none.")
    score: float = Field(description="Comparable between items of one `source` of one answer.")
    reason: str | None = Field(
        description="bought_before, because_you_liked:ITEM, popular_with_your_segment, popular, …"
    )
    category: str | None = Field(description="Its category.")
    source: Source = Field(description="The list that it is from.")


class Recommendations(Answer):
    """The list of a user, best item first; never empty."""

    model_config = ConfigDict(json_schema_extra={"example": answer_examples.RECOMMENDATIONS})

    user_id: str = Field(description="The user, as the source writes ids.")
    source: Source = Field(
        description="The list of the first item: the user's own, that of a segment that matches "
        "age bracket, gender and location, or that of everyone."
    )
    bucket: str | None = Field(description="Bucket of an experiment; null: the user is in none.")
    segment: Segment | None = Field(description="The segment; null for a personal list.")
    relaxed: list[Literal["category", "exclude"]] = Field(
        description="Filters that were not applied, since they would have left nothing."
    )
    items: list[RecommendedItem] = Field(min_length=1, description="Best first.")


class BatchUser(BaseModel):
    """A user of a batch."""

    model_config = ConfigDict(extra="forbid")

    user_id: Id = Field(
        description="The user; one who is not known yet gets the list of a segment."
    )
    age_bracket: Text | None = Field(None, description="Such as 35-44, or an age.")
    gender: Text | None = Field(None, description="As the source writes it.")
    location: Text | None = Field(None, description="As the source writes it.")
    exclude: list[Text] = Field(
        default_factory=list,
        max_length=MAX_FILTER_VALUES,
        description="Items that this user shall not get.",
    )


class Batch(BaseModel):
    """Users whose lists are wanted."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": answer_examples.BATCH})

    users: Annotated[list[BatchUser], Field(min_length=1, max_length=MAX_BATCH_USERS)] = Field(
        description="Up to 1,000; an answer for each, in this order."
    )
    k: int = Field(DEFAULT_K, ge=1, le=MAX_K, description="Number of items for each.")
    exclude: list[Text] = Field(
        default_factory=list, max_length=MAX_FILTER_VALUES, description="Items that none shall get."
    )
    category: list[Text] = Field(
        default_factory=list,
        max_length=MAX_FILTER_VALUES,
        description="Only items of these categories, in any case; empty: all.",
    )


class BatchAnswer(Answer):
    """Lists of many users, all of one release."""

    model_config = ConfigDict(json_schema_extra={"example": answer_examples.BATCH_ANSWER})

    answers: list[Recommendations] = Field(description="One per user, in the order of the users.")


class UserAnswer(Answer):
    """Everything that is predicted of a user."""

    model_config = ConfigDict(json_schema_extra={"example": answer_examples.USER})

    user_id: str = Field(description="The user, as the source writes ids.")
    attributes: Attributes | None = Field(description="Null: the release does not know the user.")
    recommendations: Recommendations = Field(description="Their list, of 10 items.")
    predictions: dict[str, list[dict[str, Any]]] = Field(
        description="Rows of every table of the release that has the user as a key, by table."
    )
    history: list[HistoryItem] | None = Field(
        description="Items of the user's newest events, the newest first; empty: no event within "
        "serving.history_days. Null: the release has no histories."
    )


class Page(Answer):
    """A page of rows."""

    next_page_token: str | None = Field(description="For the next page; null: this is the last.")


class RetentionPage(Page):
    """A page of the retention audience, highest expected value first."""

    model_config = ConfigDict(json_schema_extra={"example": answer_examples.RETENTION})

    rows: list[RetentionRow] = Field(description="Customers to contact, best first.")


class CampaignPage(Page):
    """A page of a campaign's audience, highest score first."""

    model_config = ConfigDict(json_schema_extra={"example": answer_examples.CAMPAIGN})

    campaign_id: str = Field(description="The campaign.")
    rows: list[CampaignRow] = Field(description="Customers to contact, best first.")


class SentimentAnswer(Answer):
    """Sentiment of an item's reviews in the newest week."""

    model_config = ConfigDict(json_schema_extra={"example": answer_examples.SENTIMENT})

    item_id: str = Field(description="The item.")
    week: dt.date = Field(description="Monday of the week.")
    sentiment: SentimentRow = Field(description="Shares, net sentiment, interval and change.")
    aspects: list[AspectRow] = Field(
        description="Terms of its positive and negative reviews, strongest first."
    )
    examples: list[ReviewRow] = Field(description="The most certain review of each sentiment.")
    quotes: list[Quote] | None = Field(
        description="Texts of these reviews; null: the release has no quotes (serving.quotes)."
    )


class ForecastAnswer(Answer):
    """Expected units of an item on each of the next days."""

    model_config = ConfigDict(json_schema_extra={"example": answer_examples.FORECAST})

    item_id: str = Field(description="The item, or category:NAME.")
    forecasts: list[ForecastRow] = Field(description="By location and day, with quantiles.")
    lead_time_demand: list[LeadTimeRow] = Field(
        description="Total units of the periods that orders need."
    )


class OrdersPage(Page):
    """A page of order quantities and stock levels, largest orders first."""

    model_config = ConfigDict(json_schema_extra={"example": answer_examples.ORDERS})

    rows: list[OrderRow] = Field(description="One per item and location.")


class ReleasedTable(BaseModel):
    """A table of the release."""

    table: str = Field(description="Its name.")
    partition: dt.date = Field(description="The day, or the week's Monday, of its rows.")
    rows: int = Field(description="Number of its rows.")
    key: list[str] = Field(description="Columns that are unique together; the first is looked up.")
    columns: dict[str, str] = Field(description="Column to DuckDB type.")


class TablesAnswer(Answer):
    """The tables of the release, those of plugins included."""

    model_config = ConfigDict(json_schema_extra={"example": answer_examples.TABLES})

    tables: list[ReleasedTable] = Field(description="By name.")


class RowsPage(Page):
    """A page of a table's rows of one key."""

    model_config = ConfigDict(json_schema_extra={"example": answer_examples.ROWS})

    partition: dt.date = Field(description="The day, or the week's Monday, of the rows.")
    rows: list[dict[str, Any]] = Field(description="With the table's columns, in key order.")


class ReleaseRecord(BaseModel):
    """A release in the store."""

    release_id: str = Field(description="Its id.")
    as_of: dt.date = Field(description="Its day.")
    created_at: dt.datetime = Field(description="When it was published, UTC.")
    current: bool = Field(description="Whether it is the one that is served.")
    withdrawn_at: dt.datetime | None = Field(description="When a roll-back withdrew it, UTC.")
    rows: dict[str, int] = Field(description="Rows by table.")


class ReleasesAnswer(Answer):
    """The complete releases of the store, newest day first."""

    model_config = ConfigDict(json_schema_extra={"example": answer_examples.RELEASES})

    releases: list[ReleaseRecord] = Field(description="Newest day first.")


class Health(BaseModel):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"example": answer_examples.HEALTH})

    status: Literal["ok"] = Field(description="ok")


class Readiness(BaseModel):
    """The service can answer lookups."""

    model_config = ConfigDict(json_schema_extra={"example": answer_examples.READY})

    status: Literal["ready"] = Field(description="ready")
    release_id: str = Field(description="The current release.")
    as_of: dt.date = Field(description="Its day.")
    age_seconds: int = Field(ge=0, description="Seconds since the end of its day.")
    refused_files: int | None = Field(
        None,
        description="With `serve --release-dir`: newer release files that are damaged or not "
        "complete; null: the serving store is read.",
    )


class ProblemBody(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"example": answer_examples.PROBLEM})

    type: str = Field(description="Address of the kind of error, which explains it.")
    title: str = Field(description="The kind in words.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="What is wrong with this request.")
    what_to_do: str = Field(description="How to correct it.")


class ProblemKind(BaseModel):
    """A kind of error."""

    type: str = Field(description="Its address.")
    title: str = Field(description="What is wrong.")
    status: int = Field(description="HTTP status.")
    what_to_do: str = Field(description="How to correct it.")
