"""The check of a home's contracts from outside, in the folder next to this checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_predictions_tests.worlds.paths import CONTRACT
from batch_predictions_tests.worlds.programs import run_python


def contract_violations(home: Path, *required: str) -> list[str]:
    """Lines about what a home breaks; the test is skipped where the check is missing."""
    if not CONTRACT.exists():
        pytest.skip(f"{CONTRACT} is missing")
    options = ["--require", *required] if required else []
    output = run_python(str(CONTRACT), str(home), *options, check=False).stdout
    assert output
    return [line for line in output.splitlines() if line.startswith("BROKEN")]
