"""What importing the package does to its process."""

from __future__ import annotations

import os

import pytest

from batch_predictions_tests.worlds.programs import run_python

PRINT = "import os, batch_predictions; print(os.environ['GOMP_SPINCOUNT'])"


@pytest.mark.parametrize(("before", "after"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_idle_threads_soon_sleep_unless_the_environment_says_otherwise(
    before: dict[str, str], after: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    assert run_python("-c", PRINT, env=environment | before).stdout.strip() == after
