"""Settings of the source of raw rows."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from batch_predictions.settings.section import Section


class EventTypeSettings(Section):
    """A type of interactions: the values of the source that belong to it, and its weight."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    weight: float = Field(
        1.0, ge=0, le=1000, description="Weight of one event in a user's taste; 0: not read."
    )
    values: list[str] = Field(
        default_factory=list,
        alias="is",
        description="Values of the source, in any case. Empty: the name of the type.",
    )
    target: bool = Field(
        False, description="Whether recommendations are evaluated by how well they predict it."
    )


class SourceSettings(Section):
    """The source of raw rows."""

    kind: str = Field(
        "complete_journey",
        description="Adapter: complete_journey, files, movielens, amazon_reviews, or the kind of "
        "an adapter of a plugin.",
    )
    path: Path | None = Field(
        None, description="Folder of the source (files, movielens, amazon_reviews)."
    )
    timezone: str | None = Field(
        None,
        description="Time zone of the business day, such as Europe/Berlin. Empty: that of "
        "the adapter (complete_journey: America/New_York; otherwise UTC).",
    )
    default_date: dt.date | None = Field(
        None,
        description="Day of rows without a time. Empty: the last Sunday before the first run, kept "
        "in <home>/state.yaml.",
    )
    original_dates: bool = Field(
        False, description="complete_journey: the original dates in 2017 instead of replayed ones."
    )
    columns: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="files: for each raw table, its column: your column, such as "
        "{interactions: {user_id: customer, item_id: sku, occurred_at: ts}}.",
    )
    formats: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="files: for each raw table, its column of dates or times: the format of the "
        "files, as in strptime, such as {interactions: {occurred_at: '%d.%m.%Y %H:%M'}}. Not "
        "needed for ISO 8601, Unix time, RFC 2822 and English month names.",
    )
    events: dict[str, EventTypeSettings] = Field(
        default_factory=dict,
        description="Types of interactions, such as {purchase: {weight: 1, is: [order, sale], "
        "target: true}, cart: {weight: 0.5}, view: {weight: 0.1}, return: {is: [refund]}}. "
        "purchase is what demand and churn count, return is subtracted from it. Events of other "
        "types are kept in raw.interactions, but only recency reads them. Empty: the types of the "
        "adapter (files: purchase, rating, cart, view, return).",
    )
    returns: Literal["subtract", "exclude"] = Field(
        "subtract",
        description="Returns: interactions of the type return, and purchases with a negative "
        "quantity. subtract: from units and amounts; exclude: they are not counted at all.",
    )
    earliest: dt.date = Field(
        dt.date(1990, 1, 1), description="Rows of earlier days are refused as implausible."
    )
    exclude_items: dict[str, list[str]] = Field(
        default_factory=dict,
        description="Items that are never recommended: column of raw.items to values, such as "
        "{category: [FUEL]}. Empty: those that the adapter excludes.",
    )
