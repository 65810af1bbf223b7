"""Models of rows for OpenAPI, made of the declared tables: types and descriptions of columns.

The context of predictions has models too: users' attributes and histories, quotes of reviews.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from batch_predictions.serving.http import answer_examples
from batch_predictions.serving.store.store import columns_of
from batch_predictions.tables import (
    ASPECTS,
    DEMAND_FORECASTS,
    ITEM_SENTIMENTS,
    LEAD_TIME_DEMAND,
    PROMOTION_AUDIENCE,
    REPLENISHMENT_ORDERS,
    RETENTION_AUDIENCE,
    REVIEW_SENTIMENTS,
    Table,
)

_TYPES: dict[str, Any] = {
    "VARCHAR": str,
    "BIGINT": int,
    "INTEGER": int,
    "DOUBLE": float,
    "BOOLEAN": bool,
    "DATE": dt.date,
    "TIMESTAMP": dt.datetime,
    "VARCHAR[]": list[str],
}


def row_model(table: Table, example: dict[str, Any]) -> type[BaseModel]:
    """The model of a table's rows as the service answers them.

    Columns outside of the key may be null, or absent in a release of an older version.

    Args:
        table: the declared table.
        example: a row.
    """
    fields: dict[str, Any] = {}
    for column in table.columns:
        if column.name not in columns_of(table):
            continue
        in_key = column.name in table.key
        type_ = _TYPES.get(column.type, Any)
        fields[column.name] = (
            type_ if in_key else type_ | None,
            Field(... if in_key else None, description=column.description),
        )
    words = "".join(word.capitalize() for word in table.name.split("_"))
    config = ConfigDict(json_schema_extra={"example": example}, extra="allow")
    model: type[BaseModel] = create_model(
        f"{words}Row", __config__=config, __doc__=table.description, **fields
    )
    return model


if TYPE_CHECKING:
    RetentionRow = BaseModel
    CampaignRow = BaseModel
    SentimentRow = BaseModel
    AspectRow = BaseModel
    ReviewRow = BaseModel
    ForecastRow = BaseModel
    LeadTimeRow = BaseModel
    OrderRow = BaseModel
else:
    RetentionRow = row_model(RETENTION_AUDIENCE, answer_examples.RETENTION_ROW)
    CampaignRow = row_model(PROMOTION_AUDIENCE, answer_examples.CAMPAIGN_ROW)
    SentimentRow = row_model(ITEM_SENTIMENTS, answer_examples.SENTIMENT_ROW)
    AspectRow = row_model(ASPECTS, answer_examples.ASPECT_ROW)
    ReviewRow = row_model(REVIEW_SENTIMENTS, answer_examples.REVIEW_ROW)
    ForecastRow = row_model(DEMAND_FORECASTS, answer_examples.FORECAST_ROW)
    LeadTimeRow = row_model(LEAD_TIME_DEMAND, answer_examples.LEAD_TIME_ROW)
    OrderRow = row_model(REPLENISHMENT_ORDERS, answer_examples.ORDER_ROW)


class Attributes(BaseModel):
    """The attributes and history of a user in a release."""

    age_bracket: str | None = Field(description="Age bracket, or unknown.")
    gender: str | None = Field(description="Gender, or unknown.")
    location: str | None = Field(description="Location, or unknown.")
    signed_up_on: dt.date | None = Field(description="Day of the sign-up.")


class HistoryItem(BaseModel):
    """An item that a user had to do with."""

    position: int = Field(ge=1, description="1 is the item of the newest event.")
    item_id: str = Field(description="The item.")
    title: str = Field(description="Its title; without one, its id.")
    category: str | None = Field(description="Its category.")
    last_on: dt.date = Field(description="Day of the user's newest event with it.")
    events: int = Field(ge=1, description="Events with it within serving.history_days.")
    event_types: list[str] = Field(description="Their types, such as purchase, view or return.")


class Quote(BaseModel):
    """A quote of a review."""

    review_id: str = Field(description="The review, one of `examples`.")
    text: str = Field(
        description="At most 280 characters of it; addresses and long numbers are masked by …."
    )
    rating: float | None = Field(description="The reviewer's rating.")
    sentiment: Literal["negative", "neutral", "positive"] | None = Field(
        description="As scored; null: it was not."
    )
    written_on: dt.date = Field(description="Day of the review.")
    simulated: bool = Field(description="Whether it was simulated for the demo.")
