"""Records of processes: they live as long as their process, whatever its host and number."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from batch_predictions.core import process_records

REGISTER = (
    "import os, sys; from pathlib import Path; from batch_predictions.core import process_records\n"
    "process_records.register(Path(sys.argv[1]), 'r1', 'nightly')\n"
    "print('registered', flush=True); sys.stdin.readline()"
)


def start(folder: Path, *prefix: str) -> subprocess.Popen[str]:
    """A process that registers itself as r1 and then waits for a line."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", REGISTER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "registered\n"
    return process


def test_a_process_is_known_until_it_ends(tmp_path: Path) -> None:
    with start(tmp_path) as process:
        assert process_records.is_running(tmp_path, "r1")
        (found,) = process_records.running_processes(tmp_path)
        assert (found.pid, found.command) == (process.pid, "nightly")
        process.communicate("\n")
    assert not process_records.is_running(tmp_path, "r1")
    assert not process_records.is_registered(tmp_path, "r1")


def test_a_killed_process_is_dead_and_its_record_stays_until_it_is_forgotten(
    tmp_path: Path,
) -> None:
    with start(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not process_records.is_running(tmp_path, "r1")
    assert process_records.is_registered(tmp_path, "r1")
    assert process_records.running_processes(tmp_path) == []
    process_records.forget_dead(tmp_path)
    assert not process_records.is_registered(tmp_path, "r1")


def test_the_number_and_the_host_of_a_record_decide_nothing(tmp_path: Path) -> None:
    """A container that is restarted has the host name or the number of the one before."""
    with start(tmp_path) as process:
        process.kill()
        process.wait()
    (record,) = tmp_path.iterdir()
    record.write_text(process_records.Process.this("nightly").as_text(), encoding="utf-8")
    assert not process_records.is_running(tmp_path, "r1")


def test_records_of_this_process_are_kept_until_it_unregisters(tmp_path: Path) -> None:
    process_records.register(tmp_path, "r1", "nightly")
    process_records.register(tmp_path, "r1", "nightly")
    process_records.forget_dead(tmp_path)
    (found,) = process_records.running_processes(tmp_path)
    assert found.pid == os.getpid()
    process_records.unregister(tmp_path, "r1")
    assert process_records.running_processes(tmp_path) == []
    process_records.unregister(tmp_path, "r1")


def test_a_record_that_is_no_json_names_nobody(tmp_path: Path) -> None:
    assert process_records.Process.of_text("{") is None
    assert process_records.Process.of_text('{"pid": 1}') is None
