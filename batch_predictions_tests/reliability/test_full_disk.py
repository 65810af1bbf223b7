"""A disk that is full while the files of a home are written: `benchmarks/full_disk.py`, small."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from batch_predictions.cli.console.errors import MACHINE
from batch_predictions_tests.worlds.benchmark_scripts import script_environment
from batch_predictions_tests.worlds.serving import current_release_id
from batch_predictions_tests.worlds.small_home import write_small_home

pytestmark = pytest.mark.slow

MOUNT = 'mount -t tmpfs -o size=64m tmpfs "$0" && exec "$@"'
WRITE = """
import json, os, shutil, sys
from pathlib import Path
from batch_predictions.cli.console.errors import describe_error
from batch_predictions_tests.worlds.serving import current_release_id
from batch_predictions_tests.worlds.small_home import write_small_home

disk, saved, results = Path(sys.argv[1]), Path(sys.argv[2]), []
for free in map(int, sys.argv[3:]):
    home = disk / f"home-{free}"
    shutil.copytree(saved, home)
    status = os.statvfs(disk)
    with (disk / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - free)
    try:
        write_small_home(home, "new", users=400)
        ending = None
    except Exception as error:
        ending = describe_error(error)
    (disk / "filler").unlink()
    results.append([ending, current_release_id(write_small_home(home, "new", users=400))])
print(json.dumps(results))
"""
"""Writes a home anew with little space, then with enough; prints how both tries ended."""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="a file system has to be mounted")
def test_a_full_disk_ends_with_exit_code_5_and_nothing_is_lost(tmp_path: Path) -> None:
    saved, disk = tmp_path / "saved", tmp_path / "disk"
    write_small_home(saved, "old").store.close()
    undisturbed = write_small_home(tmp_path / "undisturbed", "new", users=400)
    expected = current_release_id(undisturbed)
    disk.mkdir()
    # A namespace of its own: any user may mount there, and nothing is left.
    mounted = ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT, str(disk)]
    script = [sys.executable, "-c", WRITE, str(disk), str(saved), "0", "60000", "400000"]
    process = subprocess.run(
        [*mounted, *script], env=script_environment(), capture_output=True, text=True
    )
    if "unshare:" in process.stderr or "mount:" in process.stderr:
        pytest.skip(f"no file system can be mounted here: {process.stderr}")
    assert process.returncode == 0, process.stderr
    for ending, release in json.loads(process.stdout):
        line, code = ending
        assert code == MACHINE
        assert "\n" not in line
        assert release == expected
