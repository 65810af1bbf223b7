"""Models of what clients post, and of the answers. Keys that are documented here stay.

Examples are for the OpenAPI description.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from batch_predictions.serving.http.answer_models import Source
from batch_predictions.serving.http.query_parameters import Id, Text

_LIST = {
    "recommendation_id": "2026-11-25-e3e7d493-7d1e4a0f9c2b3d4e5f60718a",
    "source": "personal",
}
EVENTS: dict[str, Any] = {
    "events": [
        {
            "event_id": "7c1f0a52-1",
            "event_type": "impression",
            "user_id": "1",
            "item_id": "856942",
            "rank": 1,
            **_LIST,
        },
        {
            "event_id": "7c1f0a52-2",
            "event_type": "click",
            "user_id": "1",
            "item_id": "856942",
            "rank": 1,
            **_LIST,
        },
    ]
}
EVENTS_ANSWER: dict[str, Any] = {
    "accepted": 1,
    "duplicates": 1,
    "refused": [
        {
            "index": 2,
            "event_id": "7c1f0a52-3",
            "errors": [{"where": "user_id", "problem": "Field required"}],
        }
    ],
}
SIGN_UP: dict[str, Any] = {"age_bracket": "35-44", "gender": "F", "location": "367"}
SIGN_UP_ANSWER: dict[str, Any] = {"user_id": "a-new-user", **SIGN_UP, "signed_up_on": None}


MAX_EVENTS = 1_000
MAX_RANK = 1_000_000
EventType = Literal["impression", "click", "purchase"]


class Event(BaseModel):
    """What a user did with an item of an answer."""

    model_config = ConfigDict(extra="forbid")

    event_id: Id = Field(description="Names the event for good: sent again, it counts once.")
    event_type: EventType = Field(
        description="impression: the item was shown; click: it was opened; purchase: it was bought."
    )
    user_id: Id = Field(description="The user.")
    item_id: Id = Field(description="The item.")
    occurred_at: AwareDatetime | None = Field(
        None,
        description="RFC 3339, with Z or an offset. Null: when the service gets it.",
    )
    recommendation_id: Text | None = Field(
        None, description="That of the answer with the item. Without it, nothing is attributed."
    )
    release_id: Text | None = Field(
        None, description="That of the answer; null: as recommendation_id says."
    )
    source: Source | None = Field(None, description="That of the item in the answer.")
    rank: int | None = Field(
        None, ge=1, le=MAX_RANK, description="Position at which the item was shown; 1 is the first."
    )
    bucket: Text | None = Field(
        None, description="That of the answer; null: the one that the user is in now."
    )


@dataclass(frozen=True)
class InvalidEvent:
    """An event that is refused.

    Attributes:
        event_id: its id, if it is a text.
        errors: `where` and `problem` of everything that is not valid.
    """

    event_id: str | None
    errors: list[dict[str, str]]


def _keep_errors(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """An event, or why it is none: others of the same body are kept."""
    try:
        return validate(value)
    except ValidationError as error:
        event_id = value.get("event_id") if isinstance(value, dict) else None
        errors = [
            {"where": ".".join(map(str, entry["loc"])), "problem": entry["msg"]}
            for entry in error.errors(include_input=False, include_url=False)
        ]
        return InvalidEvent(event_id if isinstance(event_id, str) else None, errors[:10])


class EventBatch(BaseModel):
    """Events to store."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": EVENTS})

    events: Annotated[
        list[Annotated[Event, WrapValidator(_keep_errors)]],
        Field(min_length=1, max_length=MAX_EVENTS),
    ] = Field(description="Up to 1,000, of any users and times.")


class RefusedEvent(BaseModel):
    """An event that was not stored."""

    index: int = Field(ge=0, description="Its place in the request; 0 is the first.")
    event_id: str | None = Field(description="Its id, if it has a text as one.")
    errors: list[dict[str, str]] = Field(description="`where` and `problem` of each error.")


class EventsAnswer(BaseModel):
    """What became of the events; all that are not in `refused` are stored."""

    model_config = ConfigDict(json_schema_extra={"example": EVENTS_ANSWER})

    accepted: int = Field(ge=0, description="Events that are new.")
    duplicates: int = Field(ge=0, description="Events whose id was there: the first one counts.")
    refused: list[RefusedEvent] = Field(description="Events that are not valid: correct them.")


class SignUp(BaseModel):
    """Attributes of a user, for good: what is left out is not known."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": SIGN_UP})

    age_bracket: Text | None = Field(None, description="Such as 35-44, or an age.")
    gender: Text | None = Field(None, description="As the source writes it.")
    location: Text | None = Field(None, description="As the source writes it.")
    signed_up_on: dt.date | None = Field(None, description="Null: the day of the first request.")


class SignUpAnswer(BaseModel):
    """The user as stored; the next lookup by the id knows the attributes."""

    model_config = ConfigDict(json_schema_extra={"example": SIGN_UP_ANSWER})

    user_id: str = Field(description="The user, as the source writes ids.")
    age_bracket: str | None = Field(description="Age bracket; null: not known.")
    gender: str | None = Field(description="Gender; null: not known.")
    location: str | None = Field(description="Location; null: not known.")
    signed_up_on: dt.date | None = Field(description="As it was sent.")
