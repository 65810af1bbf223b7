"""Demand: series, weekly training, daily forecasts, and the orders that follow from them."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

from pydantic import Field, model_validator

from batch_predictions.settings.section import Section

Level = Literal["item", "item_location", "category"]


class DemandSettings(Section):
    """Demand: series, weekly training, daily forecasts, orders."""

    levels: list[Level] = Field(
        ["item", "category"],
        min_length=1,
        description="What is forecast: units of an item over all shops, of an item in a shop, and "
        "totals of categories.",
    )
    max_series: int = Field(
        500,
        ge=1,
        description="Series of a level that are forecast: those of most units in the last 84 days.",
    )
    horizon: int = Field(14, ge=1, le=91, description="Days ahead that are forecast.")
    history_days: int = Field(365, ge=14, description="Days that a series looks back on.")
    min_days: int = Field(
        28,
        ge=1,
        description="Series whose first sale is fewer days ago are excluded, with the reason.",
    )
    event_types: list[str] = Field(
        ["purchase", "interaction"],
        description="Types of raw.interactions that are demand; interaction is the type of rows "
        "whose source names none.",
    )
    outlier_factor: float = Field(
        20.0,
        ge=0,
        description="A line of more units than so many times the item's median line counts as "
        "that many; 0: no cap.",
    )
    holidays: list[dt.date] = Field(
        default_factory=list,
        description="Days that are holidays, besides those that the adapter knows (of the United "
        "States for complete_journey).",
    )
    promotion_weeks: int = Field(
        26,
        ge=4,
        description="Weeks of raw.promotion_calendar that `run` reads before a training.",
    )
    candidates: list[str] = Field(
        ["linear_promotions", "linear_regression", "sarima", "sarima_promotions", "lightgbm"],
        description="Methods compared each week by past origins; the baselines mean28_weekday and "
        "seasonal_naive always are. Further ones: arima, theta, gru, average (of lightgbm and gru) "
        "and chosen (the best of past origins for every series).",
    )
    origins: int = Field(6, ge=1, description="Past origins that the methods are judged on.")
    origin_days: int = Field(14, ge=1, description="Days between origins.")
    fits: int = Field(1, ge=1, description="How often each method is fitted over the past origins.")
    max_bias: float = Field(
        0.05,
        gt=0,
        description="Largest bias of a champion, as a share of demand: a method of little error "
        "that forecasts too little would empty the shelves.",
    )
    options: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Parameters of methods by name, such as {gru: {steps: 400}}.",
    )
    service_level: float = Field(
        0.95,
        gt=0,
        lt=1,
        description="Chance that a cycle passes without stock running out. Attribute service_level "
        "of an item wins; costs of lost sales and holding, where both are known, win over both.",
    )
    lead_time_days: int = Field(
        3, ge=1, description="Days from an order to its receipt; attribute lead_time_days wins."
    )
    review_days: int = Field(
        4, ge=1, description="Days from one order to the next; attribute review_days wins."
    )
    pack_size: float = Field(
        1.0, gt=0, description="Units are ordered in multiples of it; attribute pack_size wins."
    )
    min_order: float = Field(
        0.0, ge=0, description="Fewest units of an order; attribute min_order wins."
    )
    holding_cost: float | None = Field(
        None,
        gt=0,
        description="Cost of keeping a unit for a day; attribute holding_cost wins.",
    )
    lost_sale_cost: float | None = Field(
        None,
        gt=0,
        description="Cost of a unit that was wanted and not there; attribute lost_sale_cost wins.",
    )
    stock_max_age_days: int = Field(
        0,
        ge=0,
        description="How many days before a day its stock may have been counted.",
    )
    seed: int = Field(7, description="Seed of everything random in training.")

    @model_validator(mode="after")
    def _horizon_covers_the_cycle(self) -> DemandSettings:
        if self.lead_time_days + self.review_days > self.horizon:
            raise ValueError(
                f"lead_time_days + review_days is {self.lead_time_days + self.review_days}, more "
                f"than the {self.horizon} days of demand.horizon: raise the horizon"
            )
        return self
