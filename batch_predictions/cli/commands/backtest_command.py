"""The command `batch-predictions backtest`: would this have worked in the weeks before?"""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch_predictions.cli.console.command import command
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
    home: Home = None,
    as_json: Json = False,
) -> None:
    """How well this would have worked: past weeks, each run as if it were the newest.

    Every week is trained and predicted by the code of the nightly run, which knows no later row,
    and judged by what came. Nothing is released. Results are in evaluation.backtests and
    evaluation.backtest_decisions, which have the newest backtest.

    A backtest that was stopped goes on where it was: its homes are in HOME/backtests, and may be
    removed. Users and items have their newest attributes in past weeks too, and feedback that
    applications have posted is not read.
    """
    settings = load_settings(home, context)
    require_source(settings)
    answer = _backtest(settings, weeks, tuple(only or ()), against, leak_check)
    typer.echo(json.dumps(answer, default=str)) if as_json else _print(answer)
    if answer["leaks"]:
        raise typer.Exit(1)


def _backtest(
    settings: Settings, weeks: int, only: tuple[str, ...], against: Path | None, leak_check: bool
) -> dict[str, Any]:
    """Runs and judges the weeks of one's own settings, and of others, and writes the tables."""
    from batch_predictions.core.home import BACKTESTS
    from batch_predictions.core.home_lock import home_lock
    from batch_predictions.operations.backtest.backtest_results import (
        compare,
        summarize,
        write_backtest,
    )
    from batch_predictions.operations.backtest.judging import run_and_judge
    from batch_predictions.operations.backtest.past_weeks import OWN, PastWeeks, sundays
    from batch_predictions.planning.declarations import load_declarations
    from batch_predictions.warehouse import Warehouse

    if against is not None and against.stem == OWN:
        raise SettingsError(f"{against}: give the file another name than {OWN}")
    rows: list[dict[str, Any]] = []
    decisions: list[dict[str, Any]] = []
    leaks: list[str] = []
    folder, words = settings.home / BACKTESTS, " ".join(["batch-predictions", *sys.argv[1:]])
    folder.mkdir(parents=True, exist_ok=True)
    # Nights go on meanwhile: only the results need the home alone.
    with home_lock(folder, words), show_status("backtest") as progress:
        load_declarations(settings)
        sides = [PastWeeks(settings, only=only)]
        sides += [PastWeeks(settings, against.stem, against, only)] if against else []
        ends = sundays(settings, weeks)
        for side in sides:
            side.prepare()
        progress(_cost(sides, ends))
        for side in sides:
            of_side, decided = run_and_judge(side, ends, progress)
            rows += of_side
            decisions += decided
            if leak_check and len(ends) > 1:
                leaks += [f"{name} ({side.name})" for name in side.find_leaks(ends[0], progress)]
        with home_lock(settings.home, words):
            write_backtest(Warehouse.of(settings), rows, decisions)
    answer = {
        "weeks": [str(end) for end in ends],
        "metrics": summarize(rows),
        "decisions": decisions,
        "leaks": leaks,
    }
    if against is not None:
        answer["differences"] = list(compare(rows, OWN, against.stem))
    return answer


def _cost(sides: Sequence[PastWeeks], ends: Sequence[dt.date]) -> str:
    """How many weeks are to be run, and how long that takes by what the home's runs took."""
    from batch_predictions.operations.backtest.past_weeks import expected_seconds
    from batch_predictions.warehouse import Warehouse

    todo = sum(side.is_due(end) for side in sides for end in ends)
    seconds = expected_seconds(Warehouse.of(sides[0].settings))
    cost = f", about {max(1, round(todo * seconds / 60))} minutes" if seconds and todo else ""
    return f"{todo} of {len(sides) * len(ends)} weeks are to be run{cost}"


def _print(answer: dict[str, Any]) -> None:
    """Prints decisions, what came after, and the differences of two settings."""
    from batch_predictions.operations.backtest.judging import AFTER

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
