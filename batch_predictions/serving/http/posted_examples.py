"""Examples of what clients post, for the OpenAPI description."""

from __future__ import annotations

from typing import Any

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
