"""The notebooks of examples/ run one after another, and are kept with their outputs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.programs import run_python

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
RUN = """
import sys
import nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], 4)
NotebookClient(notebook, timeout=900, kernel_name="python3").execute()
"""


@pytest.mark.slow
def test_the_notebooks_run(tmp_path: Path) -> None:
    light = {
        "BATCH_PREDICTIONS_RECOMMENDER__TWO_STAGE": "false",
        "BATCH_PREDICTIONS_DEMAND__CANDIDATES": '["linear_regression"]',
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    env = {n: v for n, v in os.environ.items() if not n.startswith("BATCH_PREDICTIONS_")}
    for notebook in NOTEBOOKS:
        run_python("-c", RUN, str(notebook), env=env | light, cwd=tmp_path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_with_its_outputs(path: Path) -> None:
    import nbformat

    notebook = nbformat.read(path, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    outputs = [output for cell in code for output in cell.outputs]
    assert outputs and not [o for o in outputs if o.output_type == "error"]
    assert path.stat().st_size < 150_000
