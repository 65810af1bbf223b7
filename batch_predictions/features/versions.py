"""Versions of queries, which Dagster shows with the partitions that they wrote."""

from __future__ import annotations

import hashlib


def query_version(query: str) -> str:
    """A hash of the query, so that the UI shows which partitions an older query wrote."""
    return hashlib.sha256(query.encode()).hexdigest()[:12]
