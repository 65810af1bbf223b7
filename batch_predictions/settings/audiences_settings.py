"""Settings of churn, and of the retention and promotion audiences."""

from __future__ import annotations

from pydantic import Field

from batch_predictions.settings.section import Section, Share


class ChurnSettings(Section):
    """Churn: probability that an active customer buys nothing in the coming days."""

    active_days: int = Field(
        84,
        ge=1,
        description="A customer with a purchase in this many last days is active and is scored.",
    )
    horizon_days: int = Field(
        28,
        ge=1,
        description="An active customer who buys nothing in this many next days has churned.",
    )
    event_types: list[str] = Field(
        default_factory=list,
        description="Event types of raw.interactions that count, such as [purchase]. Empty: the "
        "purchases of source.events, or its targets where there are no purchases.",
    )
    history_days: int = Field(
        365, ge=1, description="promotions: days of redemptions and purchases that scores use."
    )


class AudiencesSettings(Section):
    """Audiences of retention and promotions, and how their effect is measured."""

    min_inactive_days: int = Field(
        14, ge=0, description="retention: a customer without a purchase for this long is inactive."
    )
    min_churn_probability: Share = Field(
        0.2, description="retention: lowest churn probability of a customer in the audience."
    )
    budget: int = Field(
        500, ge=1, description="retention: customers to contact in a day's audience at most."
    )
    quiet_days: int = Field(
        28, ge=0, description="retention: days after an export in which a customer is not listed."
    )
    margin: Share = Field(0.25, description="retention: margin as a share of the amount spent.")
    value_days: int = Field(
        84, ge=1, description="retention: days of spend that are lost if a customer churns."
    )
    offers: int = Field(5, ge=1, description="retention: items offered to each customer at most.")
    starts_within_days: int = Field(
        7, ge=1, description="promotions: campaigns that start in this many days have an audience."
    )
    users_per_campaign: int = Field(
        1000, ge=1, description="promotions: customers to contact for one campaign at most."
    )
    campaigns_per_user: int = Field(
        2, ge=1, description="promotions: campaigns that one customer is listed for at most."
    )
    promotion_items: int = Field(
        5, ge=1, description="promotions: items of the campaign shown to each customer at most."
    )
    holdout_share: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of customers who are held out of each list to measure its effect.",
    )
    holdout_salt: str = Field(
        "holdout", description="Decides who is held out; a different text selects others."
    )
    measured_days: int = Field(
        28,
        ge=1,
        description="Days of retention audiences that are measured together, each customer once.",
    )
