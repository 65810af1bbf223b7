"""Churn and audiences, looked up in the release that is served."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from batch_predictions.serving.lookup import Lookup

CHURN, RETENTION, PROMOTION = "churn_scores", "retention_audience", "promotion_audience"


def churn(lookup: Lookup, user_id: str) -> dict[str, Any]:
    """How likely a customer is to stay away: user_id, release_id, as_of, churn (None: not active).

    Raises:
        NoReleaseError: nothing has been released yet.
        NotPublishedError: the release has no churn scores.
    """
    found = lookup.answer(CHURN, user_id=user_id)
    row = found["rows"][0] if found["rows"] else None
    return {
        "user_id": user_id,
        "release_id": found["release_id"],
        "as_of": found["as_of"],
        "churn": row,
    }


def retention(lookup: Lookup, limit: int | None = None) -> dict[str, Any]:
    """The retention audience, best first: release_id, as_of, rows.

    Raises:
        NoReleaseError: nothing has been released yet.
        NotPublishedError: the release has no audience.
    """
    return lookup.answer(RETENTION, limit=limit)


def promotions(
    lookup: Lookup,
    campaign: str | None = None,
    user_id: str | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """The audience of a campaign, or the campaigns of a customer: release_id, as_of, rows.

    Raises:
        NoReleaseError: nothing has been released yet.
        NotPublishedError: the release has no audience.
    """
    key = {"campaign_id": campaign, "user_id": user_id}
    return lookup.answer(PROMOTION, limit=limit, **{k: v for k, v in key.items() if v is not None})


def churn_lines(answer: dict[str, Any]) -> Iterator[str]:
    """A customer's churn for people."""
    row = answer["churn"]
    if row is None:
        yield f"{answer['user_id']}: not an active customer as of {answer['as_of']}"
        return
    yield (
        f"{answer['user_id']}, as of {answer['as_of']}: likely to stay away "
        f"{row['churn_probability']:.1%}, last purchase {row['days_inactive']} days before"
    )
