"""Examples of the OpenAPI description, of the demo's shop."""

from __future__ import annotations

from typing import Any

_RELEASE: dict[str, Any] = {
    "release_id": "2026-11-25-e3e7d493",
    "as_of": "2026-11-25",
    "age_seconds": 25_140,
}
_ID = "5b0c8a4f7d1e4a0f9c2b3d4e5f60718a"


def _answer(source: str, model_version: str | None, **content: Any) -> dict[str, Any]:
    return {
        **_RELEASE,
        "source": source,
        "model_version": model_version,
        "recommendation_id": _ID,
        **content,
    }


RECOMMENDATIONS: dict[str, Any] = {
    "user_id": "1",
    **_answer(
        "personal",
        "recommender-2026-11-22-729740b5",
        bucket=None,
        segment=None,
        relaxed=[],
        items=[
            {
                "rank": 1,
                "item_id": "856942",
                "title": "Fruit/Breakfast Bread",
                "score": 17.42,
                "reason": "bought_before",
                "category": "GROCERY",
                "source": "personal",
            },
            {
                "rank": 2,
                "item_id": "1082185",
                "title": "Bananas",
                "score": 15.0,
                "reason": "bought_before",
                "category": "PRODUCE",
                "source": "personal",
            },
        ],
    ),
}
BATCH: dict[str, Any] = {
    "users": [
        {"user_id": "1", "exclude": ["856942"]},
        {"user_id": "a-new-user", "age_bracket": "35-44"},
    ],
    "k": 5,
}
BATCH_ANSWER = _answer(
    "recommendations", "recommender-2026-11-22-729740b5", answers=[RECOMMENDATIONS]
)
USER = _answer(
    "recommendations",
    "recommender-2026-11-22-729740b5",
    user_id="1",
    attributes={
        "age_bracket": "65+",
        "gender": "unknown",
        "location": "436",
        "signed_up_on": None,
    },
    recommendations=RECOMMENDATIONS,
    predictions={
        "churn_scores": [
            {
                "user_id": "1",
                "churn_probability": 0.043,
                "days_inactive": 8,
                "model_version": "churn-2026-11-22-f52cfa31",
            }
        ]
    },
    history=[
        {
            "position": 1,
            "item_id": "1082185",
            "title": "Bananas",
            "category": "PRODUCE",
            "last_on": "2026-11-17",
            "events": 4,
            "event_types": ["purchase"],
        }
    ],
)
RETENTION_ROW = {
    "rank": 1,
    "user_id": "2210",
    "churn_probability": 0.276,
    "expected_value": 40.33,
    "offer_item_ids": ["1029743", "1102607"],
    "reason": "no purchase for 31 days; buys every 12 days on average",
    "held_out": False,
    "model_version": "rules-2",
    "days_inactive": 31,
    "margin_at_risk": 146.4,
}
RETENTION = _answer(
    "retention_audience",
    "rules-2",
    rows=[RETENTION_ROW],
    next_page_token="WyIyMDI2LTEx…",  # noqa: S106
)
CAMPAIGN_ROW = {
    "campaign_id": "26",
    "rank": 1,
    "user_id": "1935",
    "score": 6.34,
    "item_ids": ["1084001", "1048889"],
    "held_out": False,
    "model_version": "rules-1",
    "kind": "Type C",
    "starts_on": "2026-10-07",
    "ends_on": "2027-03-17",
    "own_items": 44,
}
CAMPAIGN = _answer(
    "promotion_audience", "rules-1", campaign_id="26", rows=[CAMPAIGN_ROW], next_page_token=None
)
SENTIMENT_ROW = {
    "item_id": "1082185",
    "reviews": 24,
    "share_negative": 0.21,
    "share_neutral": 0.17,
    "share_positive": 0.62,
    "net_sentiment": 0.41,
    "net_lower": 0.08,
    "net_upper": 0.66,
    "change": 0.12,
    "example_review_ids": ["review-40618490339-1082185"],
    "simulated": True,
    "model_version": "sentiment-2026-11-22-142bfd25",
}
ASPECT_ROW = {
    "item_id": "1082185",
    "term": "ripe",
    "direction": "up",
    "log_odds": 1.14,
    "reviews": 3,
    "model_version": "rules-1",
    "z": 1.9,
    "simulated": True,
}
REVIEW_ROW = {
    "review_id": "review-40618490339-1082185",
    "item_id": "1082185",
    "sentiment": "positive",
    "p_negative": 0.05,
    "p_neutral": 0.17,
    "p_positive": 0.78,
    "simulated": True,
    "model_version": "sentiment-2026-11-22-142bfd25",
    "language": "en",
}
SENTIMENT = _answer(
    "item_sentiments",
    "sentiment-2026-11-22-142bfd25",
    item_id="1082185",
    week="2026-11-16",
    sentiment=SENTIMENT_ROW,
    aspects=[ASPECT_ROW],
    examples=[REVIEW_ROW],
    quotes=[
        {
            "review_id": "review-40618490339-1082185",
            "text": "So happy with this. The taste was really delicious.",
            "rating": 5.0,
            "sentiment": "positive",
            "written_on": "2026-11-22",
            "simulated": True,
        }
    ],
)
FORECAST_ROW = {
    "item_id": "1082185",
    "location": "all",
    "target_date": "2026-11-26",
    "mean": 41.2,
    "q05": 27.0,
    "q10": 30.1,
    "q25": 35.2,
    "q50": 41.0,
    "q75": 46.9,
    "q90": 52.6,
    "q95": 56.2,
    "model_version": "demand-2026-11-22-431acc67",
    "method": "lightgbm",
}
LEAD_TIME_ROW = {
    "item_id": "1082185",
    "location": "all",
    "days": 3,
    "mean": 124.1,
    "q50": 123.6,
    "q90": 143.9,
    "q95": 150.2,
    "q99": 161.0,
    "model_version": "demand-2026-11-22-431acc67",
    "level": 0.95,
    "q_level": 150.2,
}
FORECAST = _answer(
    "demand_forecasts",
    "demand-2026-11-22-431acc67",
    item_id="1082185",
    forecasts=[FORECAST_ROW],
    lead_time_demand=[LEAD_TIME_ROW],
)
ORDER_ROW = {
    "item_id": "1082185",
    "location": "all",
    "on_hand": 96.0,
    "reorder_point": 150.2,
    "order_up_to": 318.0,
    "safety_stock": 31.4,
    "order_quantity": 222.0,
    "service_level": 0.95,
    "model_version": "rules-2",
    "on_order": 0.0,
    "lead_time_days": 3,
    "review_days": 4,
    "forecast_version": "demand-2026-11-22-431acc67",
    "simulated": True,
}
ORDERS = _answer("replenishment_orders", "rules-2", rows=[ORDER_ROW], next_page_token=None)
_CHURN_COLUMNS = {
    "user_id": "VARCHAR",
    "churn_probability": "DOUBLE",
    "days_inactive": "BIGINT",
    "model_version": "VARCHAR",
}
TABLES = _answer(
    "releases",
    None,
    tables=[
        {
            "table": "churn_scores",
            "partition": "2026-11-25",
            "rows": 2_411,
            "key": ["user_id"],
            "columns": _CHURN_COLUMNS,
        }
    ],
)
ROWS = _answer(
    "churn_scores",
    "churn-2026-11-22-f52cfa31",
    partition="2026-11-25",
    rows=USER["predictions"]["churn_scores"],
    next_page_token=None,
)
RELEASES = _answer(
    "releases",
    None,
    releases=[
        {
            "release_id": "2026-11-25-e3e7d493",
            "as_of": "2026-11-25",
            "created_at": "2026-11-26T05:21:48Z",
            "current": True,
            "withdrawn_at": None,
            "rows": {"recommendations": 48_900, "churn_scores": 2_411},
        }
    ],
)
HEALTH: dict[str, Any] = {"status": "ok"}
READY = {"status": "ready", **_RELEASE}
PROBLEM: dict[str, Any] = {
    "type": "/problems/wrong-request",
    "title": "A parameter or the body is not valid",
    "status": 422,
    "detail": "k: Input should be less than or equal to 500",
    "what_to_do": "Correct what `errors` names; see GET /openapi.json.",
    "errors": [{"where": "query.k", "problem": "Input should be less than or equal to 500"}],
}
