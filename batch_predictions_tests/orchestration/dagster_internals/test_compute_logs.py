"""Processes that capture what steps print are out of reach of a Ctrl-C in the terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from batch_predictions_tests.worlds.paths import ROOT

CAPTURE = """
import os, signal, sys, time
from pathlib import Path
from batch_predictions.orchestration.dagster_internals.compute_logs import HomeComputeLogManager

def own_children():
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()

signal.signal(signal.SIGINT, lambda *_: print("noted"))
os.environ["DAGSTER_HOME"] = sys.argv[1]
manager = HomeComputeLogManager.from_config_value(None, {})
with manager.capture_logs(["run", "compute_logs", "step"]):
    children = own_children()
    while any(b"watch_orphans" not in Path(f"/proc/{pid}/cmdline").read_bytes()
              and b"tail" not in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children):
        time.sleep(0.01)
    os.killpg(0, signal.SIGINT)
    assert children and own_children() == children
assert own_children() == []
"""


def test_they_end_with_the_capture_alone(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", CAPTURE, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert (process.returncode, process.stderr) == (0, "")
    captured = tmp_path / "storage" / "run" / "compute_logs" / "step.out"
    assert captured.read_text() == "noted\n"
