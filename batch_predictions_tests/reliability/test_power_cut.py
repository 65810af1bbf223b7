"""After a power cut at any moment a file is whole or absent: `benchmarks/power_cut.py`, small."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from batch_predictions_tests.worlds.benchmark_scripts import import_benchmark, script_environment
from batch_predictions_tests.worlds.small_home import write_small_home

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not sys.platform.startswith("linux") or shutil.which("gcc") is None,
        reason="file operations are recorded by a library that gcc compiles, on Linux",
    ),
]


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Any:
    return import_benchmark("power_cut", monkeypatch)


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> Any:
    return import_benchmark("crash_states", monkeypatch)


def record(states: Any, folder: Path, root: Path, *command: str) -> Path:
    """Runs a program and records what it does to the files below a folder."""
    library = states.build_recorder(folder)
    variables = states.recorder_variables(library, root, folder / "record")
    subprocess.run([sys.executable, *command], env=script_environment(variables), check=True)
    return folder / "record"


def files_of(folder: Path) -> list[str]:
    """Paths of all files below a folder, relative to it."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("is_first", [True, False])
def test_whatever_has_its_name_after_a_power_cut_has_its_bytes(
    cut: Any, states: Any, tmp_path: Path, is_first: bool
) -> None:
    home, before = tmp_path / "home", tmp_path / "before"
    home.mkdir()
    if not is_first:
        write_small_home(home, "old").store.close()
    shutil.copytree(home, before)
    module = "batch_predictions_tests.worlds.small_home"
    recorded = record(states, tmp_path, home, "-m", module, str(home), "new")
    result = cut.check_states(home, before, recorded, tmp_path / "scratch")
    assert not result.broken
    assert all(result.states[mode] > 5 for mode in states.MODES)
    # At the end nothing may be lost, even of the names that only an fsync makes durable.
    end = cut.state_after(home, before, recorded, sum(result.operations.values()), states.MODES[1])
    kept = {path for path in end if cut.must_be_readable(path)}
    assert kept == {path for path in files_of(home) if cut.must_be_readable(path)}
    assert {"state.yaml", "serving.sqlite"} <= end.keys()


def test_bytes_without_fsync_are_found(cut: Any, states: Any, tmp_path: Path) -> None:
    home, before = tmp_path / "home", tmp_path / "before"
    home.mkdir()
    before.mkdir()
    script = (
        "import pathlib, sys\n"
        "home = pathlib.Path(sys.argv[1])\n"
        "(home / 'draft').write_text('schema_version: 1')\n"
        "(home / 'draft').replace(home / 'state.yaml')\n"
    )
    recorded = record(states, tmp_path, home, "-c", script, str(home))
    result = cut.check_states(home, before, recorded, tmp_path / "scratch")
    assert set(result.broken) == {"names at once: state.yaml cannot be read"}
