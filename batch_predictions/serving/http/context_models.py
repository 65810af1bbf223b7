"""Models of the context of predictions: users' attributes and histories, quotes of reviews."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from pydantic import BaseModel, Field


class Attributes(BaseModel):
    """What the release knows of a user."""

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
    """What a reviewer wrote."""

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
