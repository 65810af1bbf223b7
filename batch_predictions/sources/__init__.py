"""Raw days in: adapters of sources, what a row must satisfy, and the ingest into raw tables."""

from __future__ import annotations

from batch_predictions.sources.base import (
    RAW,
    Source,
    SourceError,
    SourceExhausted,
    Span,
)
from batch_predictions.sources.registry import initialise_home, kinds, source_of, today

__all__ = [
    "RAW",
    "Source",
    "SourceError",
    "SourceExhausted",
    "Span",
    "initialise_home",
    "kinds",
    "source_of",
    "today",
]
