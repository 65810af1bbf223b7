"""What the properties of a test may do that Hypothesis would refuse."""

from __future__ import annotations

from hypothesis import HealthCheck

ONE_FIXTURE_FOR_ALL = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)
"""All examples share the fixtures of the test, and may be slow to draw on a busy machine."""
