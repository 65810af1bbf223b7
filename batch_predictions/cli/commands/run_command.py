"""`batch-predictions run` and `batch-predictions demo`."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.errors import FAILED, INCOMPLETE
from batch_predictions.cli.console.options import Home, Json, day_of, load_settings, require_source
from batch_predictions.cli.console.pending_erasures import finish_pending_erasures
from batch_predictions.settings import Settings, SettingsError

if TYPE_CHECKING:
    import dagster as dg

    from batch_predictions.operations.records import RunRecords
    from batch_predictions.operations.run_summary import Summary


Only: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="NAME",
        help="Make this table or model alone, with what it needs, and recommendations with their "
        "fallback; give it again for more. The release has what there is of the others.",
    ),
]
EndStuckRuns: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--end-stuck-runs",
        help="First mark unfinished runs of the UI without a known process as failed.",
    ),
]


@command("run", order=30)
def run(
    context: typer.Context,
    home: Home = None,
    first: Annotated[
        dt.datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First day to predict."),
    ] = None,
    date: Annotated[
        dt.datetime | None,
        typer.Option(
            "--date",
            formats=["%Y-%m-%d"],
            help="Last day to predict. [default: the newest complete day of the source]",
        ),
    ] = None,
    only: Only = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what is due, and why; do nothing.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Predict and release again even if nothing is new.")
    ] = False,
    accept_loss: Annotated[
        str | None,
        typer.Option(
            "--accept-loss",
            metavar="DAY[..DAY]",
            help="Replace kept rows of these days by those that the source has now.",
        ),
    ] = None,
    end_stuck_runs: EndStuckRuns = False,
    as_json: Json = False,
) -> None:
    """Ingest what is missing, train what is due, predict and release: for cron and for a first try.

    Running it again does only what is new or has changed: in the source, in the settings or in the
    code. Where a part fails, such as a model, a table or a sink, its previous version goes on
    serving, the rest is made and released, and the exit code is 6. Where nothing is released, it is
    1, and the first line says why, and what serves. The next run tries again. Where the source has
    lost rows of a day, the previous rows are kept, and the exit code is 1 until you --accept-loss.
    """
    settings, days = load_settings(home, context), (day_of(first), day_of(date))
    require_source(settings)
    if dry_run:
        _show_plan(settings, *days, as_json, only=only or (), force=force)
        return
    _run(
        settings,
        *days,
        as_json,
        only=only or (),
        force=force,
        end_stuck_runs=end_stuck_runs,
        accept_loss=accept_loss,
    )


@command("demo", order=40)
def demo(
    context: typer.Context,
    home: Home = None,
    days: Annotated[int, typer.Option(help="Days to predict, up to yesterday.", min=1)] = 7,
    as_json: Json = False,
) -> None:
    """Run on a grocer's year of real purchases, the default source, and show the results."""
    _run(load_settings(home, context), None, None, as_json, demo_days=days)


def _run(
    settings: Settings,
    first: dt.date | None,
    last: dt.date | None,
    as_json: bool,
    *,
    demo_days: int | None = None,
    only: Sequence[str] = (),
    force: bool = False,
    end_stuck_runs: bool = False,
    accept_loss: str | None = None,
) -> None:
    """Runs the platform; with `demo_days`, that many days, and a simulated sign-up after them.

    Raises:
        typer.Exit: a table or a model failed, while the others were made; or rows were lost.
    """
    from batch_predictions.core.home_lock import home_lock
    from batch_predictions.planning.declarations import load_declarations
    from batch_predictions.sources.home_state import restart_unused_home

    with home_lock(settings.home, " ".join(["batch-predictions", *sys.argv[1:]])):
        load_declarations(settings)
        # `definitions` declares partitions from the home's first day when it is imported.
        restart_unused_home(settings)
        finish_pending_erasures(settings)
        _accept_loss(settings, accept_loss)
        is_asked_for = bool(demo_days or only or force or end_stuck_runs or accept_loss)
        unchanged = _find_unchanged(settings, first, last, is_asked_for=is_asked_for)
        if unchanged is not None:
            unchanged["failed"] = _retry_failed_steps(settings, unchanged)
            _print_unchanged(unchanged, as_json)
            raise typer.Exit(_exit_code(unchanged["failed"], unchanged.get("lost")))
        from batch_predictions.orchestration.run import run as run_platform

        summary = _run_and_notify(
            settings,
            partial(
                run_platform,
                first=first,
                last=last,
                days=demo_days,
                only=only,
                force=force,
                end_stuck_runs=end_stuck_runs,
            ),
        )
        if demo_days is not None and summary.release_id:
            from batch_predictions.operations.run_summary import simulate_sign_up

            simulate_sign_up(settings)
    _print_summary(settings, summary, as_json, is_demo=demo_days is not None)
    if code := FAILED if summary.not_released else _exit_code(summary.failed, summary.lost):
        raise typer.Exit(code)


def _run_and_notify(
    settings: Settings, run_platform: Callable[[Settings, dg.Definitions], Summary]
) -> Summary:
    """Runs the platform, then sends the report and alerts, also where the run has failed."""
    from batch_predictions.definitions import defs
    from batch_predictions.orchestration.after_run import notify
    from batch_predictions.orchestration.dagster_records import DagsterRecords
    from batch_predictions.orchestration.job_runner import RunError
    from batch_predictions.serving.release.served import describe_served

    try:
        summary = run_platform(settings, defs)
    except BaseException as error:
        for name, reason in notify(settings, DagsterRecords(settings)).items():
            typer.echo(f"{name}: {reason}", err=True)
        if isinstance(error, RunError):
            raise RunError(f"not released: {error}. {describe_served(settings)}") from error
        raise
    summary.failed |= notify(settings, DagsterRecords(settings))
    return summary


def _exit_code(failed: object, lost: object) -> int:
    return INCOMPLETE if failed else int(bool(lost))


def _retry_failed_steps(settings: Settings, summary: Mapping[str, Any]) -> dict[str, str]:
    """Does again what failed at the end of an earlier run; returns why it failed, by step."""
    from batch_predictions.orchestration.after_run import retry_failed_steps

    def open_records() -> RunRecords:
        from batch_predictions.orchestration.dagster_records import DagsterRecords

        return DagsterRecords(settings)

    return retry_failed_steps(
        settings,
        open_records,
        partial(typer.echo, err=True),
        day=summary["last_day"],
        release_id=summary["release_id"],
    )


def _find_unchanged(
    settings: Settings, first: dt.date | None, last: dt.date | None, *, is_asked_for: bool
) -> dict[str, Any] | None:
    """The summary of the last run, where nothing is new and nothing was asked for; else None.

    Damaged files are moved aside before.
    """
    from batch_predictions.planning.repair import move_damaged_aside, read_repair
    from batch_predictions.planning.unchanged import find_unchanged_run

    for file in move_damaged_aside(settings):
        typer.echo(f"{file}; it is moved to {settings.home}/damaged", err=True)
    if is_asked_for or read_repair(settings):
        return None
    return find_unchanged_run(settings, first, last)


def _accept_loss(settings: Settings, span: str | None) -> None:
    """Lets the run replace kept rows of days, written as DAY or DAY..DAY; None: of none."""
    if span is None:
        return
    from batch_predictions.sources.shrinkage import accept_loss

    first, _, last = span.partition("..")
    try:
        days = [dt.date.fromisoformat(day).isoformat() for day in (first, last or first)]
    except ValueError:
        raise SettingsError(f"--accept-loss {span}: write a day, or DAY..DAY") from None
    accept_loss(settings.home, *days)


def _show_plan(
    settings: Settings,
    first: dt.date | None,
    last: dt.date | None,
    as_json: bool,
    *,
    only: Sequence[str],
    force: bool,
) -> None:
    """Prints the steps of a run, and why they are due."""
    from batch_predictions.core.home_lock import home_lock
    from batch_predictions.planning.declarations import load_declarations

    with home_lock(settings.home, " ".join(["batch-predictions", *sys.argv[1:]])):
        load_declarations(settings)
        from batch_predictions.definitions import defs
        from batch_predictions.orchestration.dry_run import plan_steps
        from batch_predictions.sources.shrinkage import read_kept_rows

        steps = plan_steps(settings, defs, first, last, only=only, force=force)
        kept = read_kept_rows(settings.home)
    if as_json:
        typer.echo(json.dumps([step.as_dict() for step in steps]))
        return
    for step in steps:
        typer.echo(step)
    for line in (*kept.lost.values(), *kept.notes):
        typer.echo(line)
    if not steps:
        typer.echo("Nothing is new: a run would do nothing.")


def _print_unchanged(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(summary, default=str))
        return
    days = summary["last_day"]
    if summary["first_day"] != days:
        days = f"{summary['first_day']} to {days}"
    typer.echo(
        f"Nothing is new: {days} is predicted, and release {summary['release_id']} is served. "
        f"Home: {summary['home']}"
    )
    for name, message in summary["failed"].items():
        typer.echo(f"  {name}: {message}", err=True)
    for line in (*summary.get("lost", ()), *summary.get("edited", ())):
        typer.echo(f"  decide       {line}")
    for line in summary["left_out"]:
        typer.echo(f"  left out     {line}")


def _print_summary(settings: Settings, summary: Summary, as_json: bool, *, is_demo: bool) -> None:
    from batch_predictions.operations.run_summary import as_text

    if as_json:
        typer.echo(json.dumps(summary.as_dict(), default=str))
    else:
        # A run's output is a log, where there is cron; the demo's data are public.
        with_lookups = is_demo or settings.execution.show_identifiers
        typer.echo(as_text(settings, summary, with_lookups=with_lookups))
