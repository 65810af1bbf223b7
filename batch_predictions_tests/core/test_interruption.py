"""SIGINT and SIGTERM stop a process, whatever its libraries make of them."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from batch_predictions_tests.worlds.programs import run_python

NUMBERS = [signal.SIGINT, signal.SIGTERM]
BEGIN = """
import signal, sys, time
from batch_predictions.core.interruption import (
    Stopped, handle_signals, raise_if_stopped, stop_signal
)
number = signal.Signals(int(sys.argv[1]))
"""


def execute(code: str, number: signal.Signals) -> subprocess.CompletedProcess[str]:
    """Runs a program in a process of its own."""
    return run_python("-c", BEGIN + code, str(int(number)), check=False)


def output(code: str, number: signal.Signals) -> str:
    """What a program prints that ends well."""
    return run_python("-c", BEGIN + code, str(int(number))).stdout.strip()


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_stops_the_main_thread_once(number: signal.Signals) -> None:
    code = """
handle_signals()
try:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
    signal.raise_signal(number)
    signal.raise_signal(signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT, signal.SIGTERM])
    time.sleep(600)
except Stopped as error:
    signal.raise_signal(number)  # What closes files now is not interrupted.
    print(error, stop_signal().name)
"""
    reason, noted = output(code, number).split()
    assert {reason, noted} <= {number.name, "SIGTERM"}


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_of_which_a_library_made_something_else_counts(number: signal.Signals) -> None:
    code = """
handle_signals()
assert stop_signal() is None
raise_if_stopped()
signal.signal(number, lambda *_: None)
signal.raise_signal(number)
try:
    raise_if_stopped()
except Stopped as error:
    print(error, stop_signal().name)
"""
    assert output(code, number) == f"{number.name} {number.name}"


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_in_a_finalizer_is_not_printed_and_counts(number: signal.Signals) -> None:
    code = """
class Closed:
    def __del__(self):
        signal.raise_signal(number)

handle_signals()
Closed()
print(stop_signal().name)
"""
    process = execute(code, number)
    assert (process.stdout.strip(), process.stderr) == (number.name, "")


def test_a_process_without_the_handlers_is_never_stopped() -> None:
    assert output("print(stop_signal()); raise_if_stopped()", signal.SIGINT) == "None"


@pytest.mark.parametrize("number", NUMBERS)
def test_another_signal_ends_a_process_that_does_not_end(number: signal.Signals) -> None:
    code = """
handle_signals()
while True:
    try:
        print("ready", flush=True)
        time.sleep(600)
    except Stopped:
        pass
"""
    command = [sys.executable, "-c", BEGIN + code, str(int(number))]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(2):
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
        # Signals that follow the first at once are the same wish: somebody presses again.
        while True:
            try:
                process.wait(0.3)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(number)
        assert process.returncode == 128 + number
        assert process.stderr is not None
        assert process.stderr.read().count("\n") == 1


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    ("end", "is_stopped"),
    [
        ("time.sleep(600)", True),
        ("raise RuntimeError('Query interrupted')", True),
        ("sys.exit(6)", True),
        ("sys.exit(0)", False),
    ],
)
def test_a_command_that_a_signal_stops_says_so_in_one_line(
    number: signal.Signals, end: str, is_stopped: bool
) -> None:
    code = f"""
from batch_predictions import cli
from batch_predictions.cli import command_line as app

def command(arguments):
    if {end!r}.startswith("time"):
        signal.raise_signal(number)
    try:
        signal.raise_signal(number)
    except BaseException:
        pass
    {end}

app._app_for = lambda arguments: lambda *_, **options: command(arguments)
cli.main()
"""
    process = execute(code, number)
    assert process.returncode == (128 + number if is_stopped else 0)
    lines = process.stderr.splitlines()
    assert len(lines) == is_stopped
    assert all(f"stopped by {number.name}" in line for line in lines)
