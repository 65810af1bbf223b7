"""The command `batch-predictions backtest`, which runs past weeks as if each were the newest."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.errors import INCOMPLETE
from batch_predictions.cli.console.options import Home, Json, load_settings, require_source
from batch_predictions.cli.console.printing import print_table, show_status
from batch_predictions.settings import Settings, SettingsError

if TYPE_CHECKING:
    from batch_predictions.operations.backtest.past_weeks import PastWeeks


@command("backtest", order=14)
def backtest(
    context: typer.Context,
    weeks: Annotated[int, typer.Option(help="Past weeks, counted from the newest.", min=1)] = 8,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="NAME", help="This table or model alone; give it again for more."
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="YAML file of settings that replace those of the home: both are run, and compared "
            "week by week.",
            dir_okay=False,
            exists=True,
        ),
    ] = None,
    leak_check: Annotated[
        bool,
        typer.Option(
            help="Run the oldest week again with the rows of later weeks there: it must be equal."
        ),
    ] = True,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Weeks to train at once. [default: half the cores, 4 GiB of memory each]", min=1
        ),
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Run past weeks as if each were the newest, and compare them with what happened afterwards.

    Every week is trained and predicted by the code of the nightly run, which knows no later row.
    The metrics are those that a night computes when the days after are known. Nothing is released.
    Results are in evaluation.backtests and evaluation.backtest_decisions, which have the newest
    backtest. The exit code is 1 for a leak, and 6 where a table or a model of a week failed.

    A backtest that was stopped goes on where it was: its homes are in HOME/backtests, and may be
    removed. Users and items have their newest attributes in past weeks too, and feedback that
    applications have posted is not read.
    """
    settings = load_settings(home, context)
    require_source(settings)
    answer = _backtest(settings, weeks, tuple(only or ()), against, leak_check, workers)
    typer.echo(json.dumps(answer, default=str)) if as_json else _print(answer)
    if answer["leaks"]:
        raise typer.Exit(1)
    if answer["failures"]:
        raise typer.Exit(INCOMPLETE)


def _backtest(
    settings: Settings,
    weeks: int,
    only: tuple[str, ...],
    against: Path | None,
    leak_check: bool,
    workers: int | None,
) -> dict[str, Any]:
    """Runs and evaluates the weeks of one's own settings and of others, and writes the tables."""
    from batch_predictions.core.home_lock import backtests_lock, home_lock
    from batch_predictions.operations.backtest.backtest_results import (
        compare,
        summarize,
        write_backtest,
    )
    from batch_predictions.operations.backtest.past_weeks import OWN, PastWeeks, sundays
    from batch_predictions.operations.backtest.trainings_ahead import default_workers
    from batch_predictions.operations.backtest.week_evaluation import run_and_evaluate
    from batch_predictions.planning.declarations import load_declarations
    from batch_predictions.warehouse import Warehouse

    if against is not None and against.stem == OWN:
        raise SettingsError(f"{against}: give the file another name than {OWN}")
    ends, workers = sundays(settings, weeks), workers or default_workers()
    rows: list[dict[str, Any]] = []
    decisions: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    leaks: list[str] = []
    words = " ".join(["batch-predictions", *sys.argv[1:]])
    # Nights go on meanwhile: only the results need the home alone.
    with backtests_lock(settings.home, words), show_status("backtest") as progress:
        load_declarations(settings)
        sides = [PastWeeks(settings, only=only)]
        sides += [PastWeeks(settings, against.stem, against, only)] if against else []
        for side in sides:
            side.prepare(ends)
        progress(_cost(sides, ends, workers))
        for side in sides:
            metrics, decided, failed = run_and_evaluate(side, ends, progress, workers)
            rows += metrics
            decisions += decided
            failures += failed
            if leak_check and len(ends) > 1:
                leaks += [f"{name} ({side.name})" for name in side.find_leaks(progress)]
        with home_lock(settings.home, words):
            write_backtest(Warehouse.of(settings), rows, decisions)
    answer = {
        "weeks": [str(end) for end in ends],
        "metrics": summarize(rows),
        "decisions": decisions,
        "failures": failures,
        "leaks": leaks,
    }
    if against is not None:
        answer["differences"] = list(compare(rows, OWN, against.stem))
    return answer


def _cost(sides: Sequence[PastWeeks], ends: Sequence[dt.date], workers: int) -> str:
    """How many weeks are to be run, and how long that takes by what the home's runs took."""
    from batch_predictions.operations.backtest.past_weeks import expected_seconds
    from batch_predictions.warehouse import Warehouse

    due = [sum(side.is_due(end) for end in ends) for side in sides]
    trainings, rest = expected_seconds(Warehouse.of(sides[0].settings))
    # The first week of each side is trained alone.
    trained = sum(min(n, 1) + max(n - 1, 0) / workers for n in due)
    seconds = sum(due) * rest + trained * trainings
    cost = f", about {max(1, round(seconds / 60))} minutes" if seconds else ""
    return f"{sum(due)} of {len(sides) * len(ends)} weeks are to be run{cost}"


def _print(answer: dict[str, Any]) -> None:
    """Prints decisions, metrics of the days after, differences, failures and leaks."""
    from batch_predictions.operations.backtest.week_evaluation import AFTER

    counts: dict[tuple[str, str], dict[str, int]] = {}
    for row in answer["decisions"]:
        verdicts = counts.setdefault((row["settings"], row["model"]), {})
        verdicts[row["decision"]] = verdicts.get(row["decision"], 0) + 1
    print_table(
        [
            {
                "settings": name,
                "model": model,
                "decisions": ", ".join(f"{n} {what}" for what, n in sorted(verdicts.items())),
            }
            for (name, model), verdicts in sorted(counts.items())
        ]
    )
    after = [
        {key: value for key, value in row.items() if key not in ("period", "candidate")}
        for row in answer["metrics"]
        if row["period"] == AFTER
    ]
    if after:
        print_table(after)
    else:
        typer.echo("No window of these predictions is over yet: take more weeks.")
    if answer.get("differences"):
        print_table(answer["differences"])
    for failure in answer["failures"]:
        typer.echo(
            "week {week}, settings {settings}: {name} failed: {why}".format(**failure), err=True
        )
    for name in answer["leaks"]:
        typer.echo(
            f"LEAK: {name} of the oldest week differs where rows of later weeks are there: "
            "something that it is made from reads them",
            err=True,
        )
    typer.echo(
        f"\n{len(answer['weeks'])} weeks, {answer['weeks'][0]} to {answer['weeks'][-1]}. All "
        "candidates of every training: evaluation.backtests, period hold_out."
    )
