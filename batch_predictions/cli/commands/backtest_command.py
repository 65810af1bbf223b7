"""The command `batch-predictions backtest`: would this have worked in the weeks before?"""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Callable, Sequence
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
    from batch_predictions.core.home_lock import home_lock
    from batch_predictions.operations.backtest.past_weeks import OWN, PastWeeks, sundays
    from batch_predictions.operations.backtest.results import compare, summarize, write_backtest
    from batch_predictions.planning.declarations import load_declarations
    from batch_predictions.warehouse import Warehouse

    settings = load_settings(home, context)
    require_source(settings)
    if against is not None and against.stem == OWN:
        raise SettingsError(f"{against}: give the file another name than {OWN}")
    with home_lock(settings.home, " ".join(["batch-predictions", *sys.argv[1:]])):
        load_declarations(settings)
        sides = [PastWeeks(settings, only=tuple(only or ()))]
        if against is not None:
            sides.append(PastWeeks(settings, against.stem, against, tuple(only or ())))
        ends = sundays(settings, weeks)
        with show_status("backtest") as progress:
            rows, decisions, leaks = _run(settings, sides, ends, leak_check, progress)
        write_backtest(Warehouse.of(settings), rows, decisions)
    answer: dict[str, Any] = {
        "weeks": [str(end) for end in ends],
        "metrics": summarize(rows),
        "decisions": decisions,
        "leaks": leaks,
    }
    if against is not None:
        answer["differences"] = list(compare(rows, OWN, against.stem))
    typer.echo(json.dumps(answer, default=str)) if as_json else _print(answer)
    if leaks:
        raise typer.Exit(1)


def _run(
    settings: Settings,
    sides: Sequence[PastWeeks],
    ends: Sequence[dt.date],
    leak_check: bool,
    progress: Callable[[str], None],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """Runs and judges all weeks; rows of both tables, and the tables that differ."""
    from batch_predictions.operations.backtest.judging import judge_week
    from batch_predictions.operations.backtest.past_weeks import expected_seconds
    from batch_predictions.operations.backtest.results import AFTER, HOLD_OUT
    from batch_predictions.tables import INTERACTIONS, REVIEWS, week_of
    from batch_predictions.warehouse import Warehouse, as_date

    for side in sides:
        side.prepare()
    warehouse = Warehouse.of(settings)
    known = [max(warehouse.partitions(table), default="") for table in (INTERACTIONS, REVIEWS)]
    todo = sum(side.week(end) is None for side in sides for end in ends)
    seconds = expected_seconds(warehouse)
    cost = f", about {max(1, round(todo * seconds / 60))} minutes" if seconds else ""
    progress(f"{todo} of {len(sides) * len(ends)} weeks are to be run{cost}")
    rows: list[dict[str, Any]] = []
    decisions: list[dict[str, Any]] = []
    leaks = []
    for side in sides:
        for place, end in enumerate(ends):
            title = f"{side.name}, week {place + 1} of {len(ends)} ({end})"
            if side.week(end) is None:
                side.run_week(end, _titled(progress, title))
            week = side.week(end)
            assert week is not None
            for name, reason in week["failed"].items():
                typer.echo(f"{title}: {name} failed: {reason}", err=True)
            progress(f"{title}: judging")
            of_week = {"week": week_of(end), "settings": side.name}
            rows += [{**of_week, "period": HOLD_OUT, **row} for row in week["hold_out"]]
            after = judge_week(side, end, as_date(max(known)))
            rows += [{**of_week, "period": AFTER, **row} for row in after]
            decisions += [{**of_week, **row} for row in week["decisions"]]
        if leak_check and len(ends) > 1:
            title = f"{side.name}, {ends[0]} with the rows of later weeks"
            leaks += [
                f"{name} ({side.name})"
                for name in side.find_leaks(ends[0], _titled(progress, title))
            ]
    return rows, decisions, leaks


def _titled(progress: Callable[[str], None], title: str) -> Callable[[str], None]:
    return lambda line: progress(f"{title}: {line}")


def _print(answer: dict[str, Any]) -> None:
    """Prints decisions, what came after, and the differences of two settings."""
    from batch_predictions.operations.backtest.results import AFTER

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
    print_table(
        [
            {key: value for key, value in row.items() if key not in ("period", "candidate")}
            for row in answer["metrics"]
            if row["period"] == AFTER
        ]
    )
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
