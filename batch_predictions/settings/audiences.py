"""Churn, and the audiences of retention and of promotions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from batch_predictions.settings.section import Section, Share


class ChurnSettings(Section):
    """Churn: who of the active customers will not buy again soon."""

    active_days: int = Field(
        84, ge=1, description="A customer who bought in so many last days is active, and scored."
    )
    horizon_days: int = Field(
        28, ge=1, description="An active customer has churned who buys nothing in so many days."
    )
    event_types: list[str] = Field(
        default_factory=list,
        description="Types of interactions that are purchases, such as [purchase]. Empty: all.",
    )
    history_days: int = Field(365, ge=1, description="Days of purchases that features look back.")
    cutoffs: int = Field(
        16, ge=1, description="Past days that training learns from, at most, as if they were today."
    )
    step_days: int = Field(7, ge=1, description="Days from one of them to the one before.")
    max_customers: int = Field(
        50_000, ge=100, description="Customers of each past day, drawn by a hash, at most."
    )
    calibration: Literal["platt", "isotonic"] = Field(
        "platt",
        description="How scores become probabilities, on a window later than those learned from.",
    )
    min_churned: int = Field(
        20,
        ge=2,
        description="Customers who churned, and who did not, that each window needs; with fewer "
        "nothing is learned.",
    )
    seed: int = Field(7, description="Seed of everything random in training.")


class AudiencesSettings(Section):
    """Whom a campaign is sent to: retention, promotions, and what came of them."""

    min_inactive_days: int = Field(
        14, ge=0, description="retention: days without a purchase from which on one is inactive."
    )
    min_churn_probability: Share = Field(
        0.2, description="retention: customers less likely to churn are left alone."
    )
    budget: int = Field(
        500, ge=1, description="retention: customers contacted in a day's list, at most."
    )
    quiet_days: int = Field(
        28, ge=0, description="retention: days in which nobody is listed again after an export."
    )
    margin: Share = Field(0.25, description="retention: share of spend that is margin.")
    value_days: int = Field(
        84, ge=1, description="retention: days of spend that are at risk when a customer goes."
    )
    offers: int = Field(5, ge=1, description="retention: items offered to each customer.")
    starts_within_days: int = Field(
        7, ge=1, description="promotions: campaigns that start within so many days get a list."
    )
    users_per_campaign: int = Field(
        1000, ge=1, description="promotions: customers contacted for one campaign, at most."
    )
    campaigns_per_user: int = Field(
        2, ge=1, description="promotions: campaigns that one customer is listed for, at most."
    )
    promotion_items: int = Field(
        5, ge=1, description="promotions: items of the campaign shown to each customer."
    )
    holdout_share: float = Field(
        0.1, ge=0, lt=1, description="Share of customers kept out of each list, for measuring."
    )
    holdout_salt: str = Field(
        "holdout", description="Another text draws another holdout; the same one keeps it."
    )
    measured_days: int = Field(
        28, ge=1, description="Days of lists that are measured together, each customer once."
    )
