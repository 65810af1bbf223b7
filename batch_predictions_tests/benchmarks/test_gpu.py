"""The benchmark of a GPU: without one, the CPU's figures are measured and the table says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.mark.slow
def test_cases_are_measured_and_a_missing_gpu_is_said(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("`make gpu` runs this benchmark")
    file = tmp_path / "gpu.json"
    command = [sys.executable, str(BENCHMARK), "--small", "--only", "topk,sequence"]
    finished = subprocess.run(
        [*command, "--json", str(file)], capture_output=True, text=True, check=True
    )
    report = json.loads(file.read_text())
    assert report["gpu"] == "" and report["tests"] == "not run: no GPU"
    assert {name: case["row"] for name, case in report["cases"].items()} == {
        "topk": "user",
        "sequence": "step",
    }
    assert all(case["cpu_seconds"] > 0 for case in report["cases"].values())
    assert finished.stdout.count("\n") == 6 and "no GPU, s" in finished.stdout
