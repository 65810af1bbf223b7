"""The home's lock: commands hold it alone, runs of the UI share it, and it ends with its holder."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from batch_predictions.core import process_records
from batch_predictions.core.home_lock import (
    HomeBusyError,
    SharedHomeLock,
    home_lock,
    processes_folder,
)
from batch_predictions_tests.worlds.lock_holder import lock_holder


def test_the_error_of_a_second_process_names_the_first_and_its_command(tmp_path: Path) -> None:
    busy = pytest.raises(HomeBusyError)
    with lock_holder(tmp_path) as process, busy as caught, home_lock(tmp_path, "mine"):
        raise AssertionError("both hold the lock")
    message = str(caught.value)
    assert str(process.pid) in message and "`the nightly run`" in message and "--home" in message


def test_the_lock_is_released_at_the_end_of_the_block(tmp_path: Path) -> None:
    with lock_holder(tmp_path) as process:
        assert process.stdin and process.stdout
        print(file=process.stdin, flush=True)
        assert process.stdout.readline() == "let go\n"
        with home_lock(tmp_path, "mine"):
            assert str(os.getpid()) in (tmp_path / "run.lock").read_text(encoding="utf-8")
        assert (tmp_path / "run.lock").read_text(encoding="utf-8") == ""


def test_the_lock_ends_with_a_holder_that_is_killed(tmp_path: Path) -> None:
    with lock_holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with home_lock(tmp_path, "mine"):
            text = (tmp_path / "run.lock").read_text(encoding="utf-8")
    assert "mine" in text and "nightly" not in text


def test_the_lock_is_free_after_work_that_failed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), home_lock(tmp_path, "first"):
        raise ZeroDivisionError
    busy = pytest.raises(HomeBusyError, match="`second`")
    with home_lock(tmp_path, "second"), busy, home_lock(tmp_path, "third"):
        raise AssertionError("both hold the lock")


def test_shares_keep_a_command_out_and_it_says_whose(tmp_path: Path) -> None:
    process_records.register(processes_folder(tmp_path), "r1", "nightly of Dagster, run r1")
    busy = pytest.raises(HomeBusyError, match="nightly of Dagster, run r1")
    with SharedHomeLock(tmp_path) as one, SharedHomeLock(tmp_path) as other:
        assert one.try_acquire() is None and other.try_acquire() is None
        with busy, home_lock(tmp_path, "mine"):
            raise AssertionError("held alone beside two shares")
    process_records.unregister(processes_folder(tmp_path), "r1")
    with home_lock(tmp_path, "mine"):
        pass


def test_a_share_is_refused_while_a_command_holds_the_lock_alone(tmp_path: Path) -> None:
    with SharedHomeLock(tmp_path) as lock, lock_holder(tmp_path) as process:
        holder = lock.try_acquire()
        assert holder and str(process.pid) in holder and "the nightly run" in holder
        process.kill()
        process.wait()
        assert lock.try_acquire() is None
        # The killed command is no longer named.
        with pytest.raises(HomeBusyError, match="just started"), home_lock(tmp_path, "mine"):
            raise AssertionError("held alone beside a share")


def test_the_process_that_holds_the_lock_alone_has_every_share(tmp_path: Path) -> None:
    with home_lock(tmp_path, "mine"), SharedHomeLock(tmp_path) as lock:
        assert lock.try_acquire() is None
