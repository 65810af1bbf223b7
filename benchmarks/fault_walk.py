"""Walks faults x commands: each command on each damaged home ends with one line, or works.

    python benchmarks/fault_walk.py [--only FAULT …] [--commands COMMAND …]

Makes a small shop, runs it, and for each fault copies its home and source, damages the copy, runs
the commands, applies the remedy and runs again. Prints a Markdown table, and every violation: a
traceback, an error of more than one line, an error that does not name what is damaged, a password,
other predictions than those of an undisturbed run after the remedy.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from faults import FAULTS, LAST, Fault, Shop

from batch_predictions_tests.worlds.retail_fixtures import write_shop

COMMANDS: dict[str, tuple[str, ...]] = {
    "run": ("run", "--from", "2024-03-16"),
    "lookup": ("lookup", "recommendations", "u03"),
    "releases": ("releases", "list"),
    "models": ("models", "list"),
    "check-source": ("check-source",),
    "prune": ("prune",),
    "doctor": ("doctor",),
    "first-day": ("first-day",),
}
REPORTS = ("check-source", "doctor")
"""Commands whose answer says what is wrong, with exit code 1."""


@dataclass
class Outcome:
    """How a command ended on a damaged home."""

    code: int
    line: str
    violation: str | None


def judge(fault: Fault, command: str, process: subprocess.CompletedProcess[str]) -> Outcome:
    """Whether a command ended as it should."""
    is_report = command in REPORTS and process.returncode == 1 and bool(process.stdout.strip())
    errors = [line for line in process.stderr.splitlines() if line.strip()]
    own = [line for line in errors if line.startswith(("batch-predictions: ", "Error"))]
    last = errors[-1] if errors else ""
    violation = None
    if "Traceback" in process.stderr:
        violation = "a traceback"
    elif process.returncode not in range(6):
        violation = f"exit code {process.returncode}"
    elif process.returncode and not own and not is_report:
        violation = "no line of the command"
    elif process.returncode and own and own[-1] != last:
        violation = "an error of several lines"
    elif process.returncode and not any(
        word in process.stderr + process.stdout for word in fault.words
    ):
        violation = "what is damaged is not named"
    elif "secret" in process.stderr + process.stdout:
        violation = "a password is shown"
    return Outcome(process.returncode, last[:300], violation)


def walk(base: Shop, fault: Fault, folder: Path) -> tuple[dict[str, Outcome], str | None]:
    """Outcomes of all commands on a damaged copy, and what is wrong after the remedy."""
    outcomes = {}
    for name, arguments in COMMANDS.items():
        shop = copy_shop(base, folder)
        fault.damage(shop)
        outcomes[name] = judge(fault, name, shop.execute(*arguments))
    shop = copy_shop(base, folder)
    fault.damage(shop)
    shop.execute(*COMMANDS["run"])
    problem = None
    if fault.remedy is not None:
        fault.remedy(shop)
        process = shop.execute(*COMMANDS["run"])
        if process.returncode:
            problem = f"the run after the remedy fails: {process.stderr.strip().splitlines()[-1]}"
        elif shop.hashes() != base.hashes():
            problem = "other predictions after the remedy"
        elif shop.execute(*COMMANDS["lookup"]).returncode:
            problem = "no lookup after the remedy"
    return outcomes, problem


def copy_shop(base: Shop, folder: Path) -> Shop:
    """A copy of a shop in a folder, which is removed first."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base.folder, folder)
    return Shop(folder)


def main() -> int:
    """Prints the table; exit code 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--commands", nargs="*", default=[])
    options = parser.parse_args()
    for name in [name for name in COMMANDS if options.commands and name not in options.commands]:
        del COMMANDS[name]
    violations = []
    with tempfile.TemporaryDirectory() as temporary:
        # The home's path is the same for all copies, since views and manifests have it.
        base, folder = Shop(Path(temporary) / "base"), Path(temporary) / "copy"
        write_shop(base.source, days=28, last=LAST)
        made = Shop(folder)
        shutil.copytree(base.folder, folder)
        process = made.execute(*COMMANDS.get("run", ("run", "--from", "2024-03-16")))
        assert process.returncode == 0, process.stderr
        shutil.rmtree(base.folder)
        shutil.copytree(folder, base.folder)
        print(f"| fault | {' | '.join(COMMANDS)} | after the remedy |")
        print("| --- |" + " --- |" * (len(COMMANDS) + 1))
        for fault in FAULTS:
            if options.only and not any(word in fault.name for word in options.only):
                continue
            outcomes, problem = walk(base, fault, folder)
            cells = [
                "!" if o.violation else ("ok" if o.code == 0 else "one line")
                for o in outcomes.values()
            ]
            print(f"| {fault.name} | {' | '.join(cells)} | {problem or 'equal'} |", flush=True)
            for name, outcome in outcomes.items():
                if outcome.violation:
                    violations.append(f"{fault.name} / {name}: {outcome.violation}: {outcome.line}")
                    print(violations[-1], file=sys.stderr, flush=True)
            if problem:
                violations.append(f"{fault.name}: {problem}")
                print(violations[-1], file=sys.stderr, flush=True)
    print(f"\n{len(violations)} violations")
    return int(bool(violations))


if __name__ == "__main__":
    sys.exit(main())
