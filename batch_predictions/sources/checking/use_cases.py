"""Tells which use cases a source has the data for, and what is missing for others."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from batch_predictions.settings import Settings
from batch_predictions.sources.checking.findings import Findings
from batch_predictions.sources.validation.event_types import EventTypes

Status = Literal["yes", "limited", "no"]

WEEKS_FOR_A_GATE = 3
"""Weeks of interactions with which a recommender can be trained and evaluated."""

HORIZONS_FOR_CHURN = 4
"""Horizons of purchases that training needs: for fitting, calibration and test."""


@dataclass(frozen=True)
class UseCase:
    """A use case of the platform, and whether the source has the data for it.

    Attributes:
        name: of the use case.
        status: whether it works with this source.
        notes: what it will do, and what is missing.
    """

    name: str
    status: Status
    notes: list[str]


@dataclass(frozen=True)
class Days:
    """The days of the interactions; None if there are none."""

    first: dt.date | None
    newest: dt.date | None

    @property
    def number(self) -> int:
        """Days from first to newest."""
        return (self.newest - self.first).days + 1 if self.first and self.newest else 0


def describe_use_cases(
    settings: Settings,
    event_types: EventTypes,
    accepted: Mapping[str, int],
    findings: Findings,
    days: Days,
) -> list[UseCase]:
    """Every use case, in the order of the README.

    Args:
        settings: what the use cases need.
        event_types: of the source.
        accepted: by table that the source has, its accepted rows.
        findings: of these rows.
        days: of the interactions.
    """
    return [
        _recommendations(accepted, findings, days),
        _fallback(accepted, findings),
        _churn(settings, event_types, findings, days),
        _promotions(accepted),
        _sentiment(settings, accepted, findings),
        _forecasts(settings, accepted, findings, days),
        _orders(accepted),
    ]


def _has_targets(findings: Findings) -> bool:
    return any(finding.role == "target" for finding in findings.event_types)


def _recommendations(accepted: Mapping[str, int], findings: Findings, days: Days) -> UseCase:
    if not accepted.get("interactions"):
        return UseCase("recommendations", "no", ["there are no interactions"])
    if not _has_targets(findings):
        return UseCase("recommendations", "no", ["no interaction is of a target type"])
    notes = []
    status: Status = "yes"
    if days.number < 7 * WEEKS_FOR_A_GATE:
        notes.append(f"{days.number} days are few to evaluate a model on")
        status = "limited"
    if "items" not in accepted:
        notes.append("without items, lists show ids instead of titles")
    return UseCase("recommendations", status, notes)


def _fallback(accepted: Mapping[str, int], findings: Findings) -> UseCase:
    if not accepted.get("interactions"):
        return UseCase("fallback", "no", ["there are no interactions"])
    known = {name: share for name, share in findings.demographics.items() if share > 0}
    if not known:
        return UseCase("fallback", "limited", ["no demographics: all new users get popular items"])
    shares = ", ".join(f"{name} of {share:.0%}" for name, share in known.items())
    return UseCase("fallback", "yes", [f"{shares} of the users"])


def _churn(settings: Settings, event_types: EventTypes, findings: Findings, days: Days) -> UseCase:
    types = settings.churn.event_types or event_types.purchases
    if not {finding.name for finding in findings.event_types} & {*types}:
        return UseCase("churn", "no", [f"no interaction is of the types {', '.join(types)}"])
    needed = settings.churn.horizon_days * HORIZONS_FOR_CHURN
    if days.number < needed:
        note = f"training needs about {needed} days of purchases, there are {days.number}"
        return UseCase("churn", "no", [note])
    return UseCase("churn", "yes", [])


def _promotions(accepted: Mapping[str, int]) -> UseCase:
    if accepted.get("promotions"):
        return UseCase("promotion audiences", "yes", [])
    return UseCase("promotion audiences", "no", ["there are no promotions"])


def _sentiment(settings: Settings, accepted: Mapping[str, int], findings: Findings) -> UseCase:
    if not accepted.get("reviews"):
        return UseCase("sentiment", "no", ["there are no reviews"])
    config = settings.sentiment
    named = [finding for finding in findings.languages if finding.language]
    main = named[0] if named else None
    labelled = sum(
        f.labelled for f in findings.languages if f.language in (None, main and main.language)
    )
    if labelled < config.min_reviews:
        note = f"a model needs {config.min_reviews} reviews with a rating or label: {labelled} have"
        return UseCase("sentiment", "no", [note])
    notes: list[str] = []
    status: Status = "yes"
    for finding in named[1:]:
        if finding.labelled < config.min_language_reviews and not config.multilingual:
            status = "limited"
            notes.append(
                f"{finding.reviews:,} reviews in {finding.language} are not scored: "
                f"{finding.labelled:,} are labelled, a model needs {config.min_language_reviews:,}"
            )
    return UseCase("sentiment", status, notes)


def _forecasts(
    settings: Settings, accepted: Mapping[str, int], findings: Findings, days: Days
) -> UseCase:
    types = {finding.name for finding in findings.event_types}
    if not types & {*settings.demand.event_types}:
        wanted = ", ".join(settings.demand.event_types)
        return UseCase("forecasts", "no", [f"no interaction is of the types {wanted}"])
    if days.number < settings.demand.min_days:
        note = f"forecasts need {settings.demand.min_days} days, there are {days.number}"
        return UseCase("forecasts", "no", [note])
    quantity = next((finding for finding in findings.ranges if finding.column == "quantity"), None)
    if quantity is not None and quantity.missing > 0:
        note = f"{quantity.missing:.0%} of the interactions have no quantity: they count as 1 unit"
        return UseCase("forecasts", "limited" if quantity.missing > 0.5 else "yes", [note])
    return UseCase("forecasts", "yes", [])


def _orders(accepted: Mapping[str, int]) -> UseCase:
    if accepted.get("inventory"):
        return UseCase("orders", "yes", [])
    if not accepted.get("interactions"):
        return UseCase("orders", "no", ["there are no purchases"])
    note = "without inventory there are reorder points and levels, but no quantities"
    return UseCase("orders", "limited", [note])
