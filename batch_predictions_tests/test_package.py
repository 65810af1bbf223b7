"""What importing the package does to its process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PRINT = "import os, batch_predictions; print(os.environ['GOMP_SPINCOUNT'])"


@pytest.mark.parametrize(("before", "after"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_idle_threads_soon_sleep_unless_the_environment_says_otherwise(
    before: dict[str, str], after: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    command = [sys.executable, "-c", PRINT]
    process = subprocess.run(
        command, env=environment | before, capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == after
