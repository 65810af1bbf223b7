"""Tests of what the platform has only with a Dagster whose private modules it knows."""

from __future__ import annotations

import pytest

from batch_predictions.orchestration.dagster_internals import LOST, are_known

needs_internals = pytest.mark.skipif(not are_known(), reason=f"with Dagster's own parts, {LOST}")
