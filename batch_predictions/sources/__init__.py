"""Raw data: adapters of sources, validation of their rows, and the ingest into raw tables."""

from __future__ import annotations

from batch_predictions.sources.base import RAW_TABLES, Source, SourceError, SourceExhaustedError
from batch_predictions.sources.home_state import initialise_home
from batch_predictions.sources.rows.spans import Span
from batch_predictions.sources.source_registry import (
    build_source,
    current_date,
    source_kinds,
    source_of,
)

__all__ = [
    "RAW_TABLES",
    "Source",
    "SourceError",
    "SourceExhaustedError",
    "Span",
    "build_source",
    "current_date",
    "initialise_home",
    "source_kinds",
    "source_of",
]
