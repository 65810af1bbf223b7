"""The command `batch-predictions status`, which shows how the home is doing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.options import Home, Json, load_settings

if TYPE_CHECKING:
    from batch_predictions.operations.status import Status

MaxAge: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--max-age",
        metavar="DAYS",
        min=1,
        help="Days that the release, and the source's newest day, may be old. "
        "[default: alerts.max_age_days]",
    ),
]


@command("status", order=36)
def status(
    context: typer.Context,
    home: Home = None,
    max_age: MaxAge = None,
    as_json: Json = False,
) -> None:
    """Show what is served and how old it is, last runs, failed checks, source, models and disk.

    For monitors: exit code 1 if something needs attention, with a line for each problem. Changes
    nothing, and may run beside a run.
    """
    from batch_predictions.operations.status import read_status
    from batch_predictions.orchestration.dagster_records import DagsterRecords
    from batch_predictions.planning.declarations import load_declarations

    settings = load_settings(home, context)
    load_declarations(settings)
    state = read_status(settings, DagsterRecords(settings), max_age)
    if as_json:
        typer.echo(json.dumps(state.as_dict()))
    else:
        for line in _lines(state):
            typer.echo(line)
    if state.problems:
        raise typer.Exit(1)


def _lines(state: Status) -> Iterator[str]:
    """The status as lines of text."""
    yield _line("home", f"{state.home}, source {state.source}, {state.today}")
    yield _line("served", _served(state))
    for name, day in state.earlier_days.items():
        yield _line("", f"{name} of {day}")
    yield _line("source", f"newest complete day {state.source_day or 'unknown'}")
    for line in state.kept:
        yield _line("", line)
    if state.next_day:
        when = "due" if state.is_due else "due when it is over"
        yield _line("next", f"{state.next_day}, {when}")
    for run in state.runs:
        words = [run.job, run.partition, run.status.lower()]
        if run.seconds is not None:
            words.append(f"in {run.seconds:,.0f} s,")
        if run.started_at:
            words.append(f"begun {run.started_at} UTC")
        yield _line("run", " ".join(word for word in words if word))
    yield _line("checks", f"{state.checks_passed} passed, {len(state.checks)} did not")
    for check in state.checks:
        day = f" of {check.partition}" if check.partition else ""
        text = f"{check.severity} {check.table} {check.name}{day}: {check.description}"
        yield _line("", text)
    for version in state.models.values():
        yield _line("model", version)
    sizes = sorted(state.home_bytes.items(), key=lambda item: -item[1])[:4]
    named = ", ".join(f"{name} {_size(size)}" for name, size in sizes)
    total = _size(sum(state.home_bytes.values()))
    yield _line("disk", f"home {total} ({named}); {_size(state.free_bytes)} free")
    for problem in state.problems:
        yield _line("problem", problem.message)
    if not state.problems:
        yield _line("problems", "none")


def _served(state: Status) -> str:
    if state.release_id is None:
        return "nothing yet"
    days = "today" if state.age_days == 0 else f"{state.age_days} days ago"
    if state.age_days == 1:
        days = "yesterday"
    rows = sum(state.rows.values())
    return f"release {state.release_id} as of {state.as_of}, {days}, {rows:,} rows"


def _line(name: str, text: str) -> str:
    return f"{name:<9}{text}"


def _size(size: int) -> str:
    """Formats a number of bytes, such as 12.3 MiB."""
    value, unit = float(size), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
