"""Loading the definitions, as every page of Dagster's code server does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import logging, os
factory, umask = logging.getLogRecordFactory(), os.umask(0)
os.umask(umask)
from batch_predictions.definitions import defs
assert logging.getLogRecordFactory() is factory, "the logs of the process are changed"
assert os.umask(umask) == umask, "the umask of the process is changed"
print(len(defs.resolve_all_asset_specs()))
"""


def test_loading_the_definitions_changes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={
            **os.environ,
            "BATCH_PREDICTIONS_HOME": str(home),
            "BATCH_PREDICTIONS_SOURCE__ORIGINAL_DATES": "true",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert int(process.stdout) > 20
    assert not home.exists()
