"""Settings of demand: series, weekly training, daily forecasts, replenishment orders."""

from __future__ import annotations

import datetime as dt
import re
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from batch_predictions.settings.section import Section

Level = Literal["item", "item_location", "category"]


def _known_country(code: str) -> str:
    """The code in capitals; a ValueError where it is none, or `holidays` does not know it."""
    code = code.upper()
    if not re.fullmatch(r"[A-Z]{2}(-[A-Z0-9]+)?", code):
        raise ValueError("neither a date nor a country, such as 2027-12-24 or US")
    country, _, part = code.partition("-")
    # The image of the service, which does not forecast, has no `holidays`.
    with suppress(ImportError):
        import holidays

        try:
            holidays.country_holidays(country, subdiv=part or None)
        except NotImplementedError as error:
            raise ValueError(str(error)) from None
    return code


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Holiday = Annotated[
    dt.date | Annotated[str, AfterValidator(_known_country)], Field(union_mode="left_to_right")
]


class DemandSettings(Section):
    """Series, weekly training, daily forecasts and replenishment orders."""

    levels: list[Level] = Field(
        ["item", "category"],
        min_length=1,
        description="Levels of series to forecast: item (units over all shops), item_location "
        "(units in one shop) and category (totals of categories).",
    )
    max_series: int = Field(
        500,
        ge=1,
        description="Series to forecast of each level: those with the most units in the last 84 "
        "days.",
    )
    horizon: int = Field(14, ge=1, le=91, description="Days to forecast.")
    history_days: int = Field(365, ge=14, description="Days of history of a series.")
    min_days: int = Field(
        28,
        ge=1,
        description="Series with fewer days since their first sale are excluded, with the reason.",
    )
    event_types: list[str] = Field(
        ["purchase", "interaction"],
        description="Event types of raw.interactions that count as demand; rows of sources without "
        "event types have the type interaction.",
    )
    outlier_factor: float = Field(
        20.0,
        ge=0,
        description="The units of a line are capped at this multiple of the item's median line; "
        "0: no cap.",
    )
    holidays: Annotated[list[Holiday], BeforeValidator(_listed)] = Field(
        default_factory=list,
        description="A country or a part of it, such as DE or DE-BY, whose public holidays the "
        "models know, and further dates. Without a country it is the source's (US for "
        "complete_journey, none for your own data). For US it is the seven holidays that shops "
        "keep.",
    )
    promotion_weeks: int = Field(
        26,
        ge=4,
        description="Weeks of raw.promotion_calendar that `run` ingests before a training.",
    )
    candidates: list[str] = Field(
        ["linear_promotions", "linear_regression", "sarima", "sarima_promotions", "lightgbm"],
        description="Forecasters that each training compares at past origins, in addition to the "
        "baselines mean28_weekday, seasonal_naive and mean and to chosen, the best candidate of "
        "each series. Others are arima, ets, naive2, theta, gru and average (of lightgbm and gru).",
    )
    origins: int = Field(6, ge=1, description="Past origins at which forecasters are compared.")
    origin_days: int = Field(14, ge=1, description="Days between past origins.")
    fits: int = Field(
        1, ge=1, description="How often each forecaster is fitted over the past origins."
    )
    max_bias: float = Field(
        0.05,
        gt=0,
        description="Largest absolute bias of a forecaster that serves, as a share of demand: one "
        "with a small error that is biased downwards would lead to lost sales.",
    )
    sarima_backend: Literal["batched", "statsmodels"] = Field(
        "batched",
        description="How SARIMA is computed: batched, by compiled loops for many series at once, "
        "or by statsmodels' SARIMAX, a hundred times slower, to compare with.",
    )
    options: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Parameters by forecaster, such as {gru: {steps: 400}}.",
    )
    service_level: float = Field(
        0.95,
        gt=0,
        lt=1,
        description="Probability that stock lasts for lead time and review period. An item's "
        "attribute service_level takes precedence over the setting, and the optimum by "
        "lost_sale_cost and holding_cost, where both are known, over both.",
    )
    lead_time_days: int = Field(
        3,
        ge=1,
        description="Days from an order to its receipt; an item's attribute of this name takes "
        "precedence, as for the other terms of orders.",
    )
    review_days: int = Field(4, ge=1, description="Days from one order to the next.")
    pack_size: float = Field(1.0, gt=0, description="Units of a pack; orders are whole packs.")
    min_order: float = Field(0.0, ge=0, description="Smallest order in units.")
    holding_cost: float | None = Field(
        None,
        gt=0,
        description="Cost of holding a unit for a day.",
    )
    lost_sale_cost: float | None = Field(
        None,
        gt=0,
        description="Cost of a unit of demand that could not be met.",
    )
    stock_max_age_days: int = Field(
        0,
        ge=0,
        description="Age in days of the oldest stock count that is used.",
    )
    seed: int = Field(7, description="Seed of the random numbers of the training.")

    @property
    def holiday_country(self) -> str:
        """Code of the country in `holidays`; empty where there is none."""
        return next((code for code in self.holidays if isinstance(code, str)), "")

    @property
    def holiday_dates(self) -> tuple[dt.date, ...]:
        """The dates in `holidays`."""
        return tuple(date for date in self.holidays if isinstance(date, dt.date))

    @model_validator(mode="after")
    def _one_country(self) -> DemandSettings:
        if sum(isinstance(holiday, str) for holiday in self.holidays) > 1:
            raise ValueError("holidays has more than one country: choose one, and add dates")
        return self

    @model_validator(mode="after")
    def _horizon_covers_the_cycle(self) -> DemandSettings:
        if self.lead_time_days + self.review_days > self.horizon:
            raise ValueError(
                f"lead_time_days + review_days is {self.lead_time_days + self.review_days}, more "
                f"than the {self.horizon} days of demand.horizon: raise the horizon"
            )
        return self
