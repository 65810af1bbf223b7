"""`batch-predictions ask`: how well a question of one's own could be predicted."""

from __future__ import annotations

import datetime as dt
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.errors import FAILED
from batch_predictions.cli.console.options import Home, Json, load_settings
from batch_predictions.cli.console.printing import print_table

if TYPE_CHECKING:
    from batch_predictions.models.queries.query_selection import QuerySelection
    from batch_predictions.settings.predictive_query import PredictiveQuery
    from batch_predictions.warehouse import Warehouse

SHOWN = 10
"""Features, and examples, that are shown."""


@command("ask", order=12)
def ask(
    context: typer.Context,
    question: Annotated[
        str,
        typer.Argument(help="TARGET of EVENT [where …] for ENTITY in N days [from M] [among …]."),
    ],
    through: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Last day whose events are used; default: the newest."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="PNG file: predicted against observed.", dir_okay=False)
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show how well a prediction of your own would work, on your past days. Nothing is written.

    For instance: batch-predictions ask "sum(amount) of purchase for user in 28 days".

    TARGET is sum(…), count(*), count(distinct …), avg(…), min(…), max(…), any of these with a
    comparison such as count(*) > 0, first(date), or top(5, category). EVENT is a type of
    raw.interactions, `review`, or a type of raw.campaign_events. ENTITY is user, item, location,
    category, or a pair such as `user x category`.

    The answer has the best baseline, what a model gains over it on the newest past window, and the
    lines for batch_predictions.yaml. On more than 30,000 entities a sample is used. Exit code 1:
    the events are too few to train and to test a model.
    """
    from batch_predictions.cli.console.printing import show_status
    from batch_predictions.features.history.query_labels import check_query
    from batch_predictions.models.queries.query_examples import history_of
    from batch_predictions.models.queries.query_training import train_query
    from batch_predictions.planning.declarations import load_declarations
    from batch_predictions.settings.predictive_query import PredictiveQuery
    from batch_predictions.warehouse import Warehouse

    settings = load_settings(home, context)
    load_declarations(settings)
    query = PredictiveQuery.from_question(question)
    check_query(query, history_of(settings, (query,)))
    warehouse = Warehouse.of(settings)
    last = _last_day(warehouse, through)
    started = time.monotonic()
    with show_status("reading") as progress:
        selection = train_query(warehouse, settings, query, last, progress, refit=False)
    seconds = time.monotonic() - started
    if plot is not None:
        _save_plot(selection, plot)
    answer = {**describe_answer(query, selection, last), "seconds": round(seconds, 1)}
    if as_json:
        typer.echo(json.dumps(answer, default=str))
    else:
        _print_answer(answer)
    if "rows" not in answer:
        raise typer.Exit(FAILED)


def _last_day(warehouse: Warehouse, text: str | None) -> dt.date:
    """The last day whose events are used: the given one, or the newest."""
    from batch_predictions.settings import SettingsError
    from batch_predictions.tables import INTERACTIONS

    days = warehouse.partitions(INTERACTIONS)
    if not days:
        raise SettingsError(
            f"{warehouse.home} has no events yet: `batch-predictions run` ingests them"
        )
    try:
        last = dt.date.fromisoformat(text or days[-1])
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no date: write YYYY-MM-DD") from error
    if last.isoformat() > days[-1]:
        raise typer.BadParameter(f"events are known through {days[-1]}: give a day up to it")
    return last


def describe_answer(
    query: PredictiveQuery, selection: QuerySelection, through: dt.date
) -> dict[str, Any]:
    """The answer as JSON values; without figures and settings if no model could be trained.

    Args:
        query: the question.
        selection: of its training, without a refit.
        through: last day whose events were used.
    """
    answer: dict[str, Any] = {
        "question": query.question,
        "through": through.isoformat(),
        "serves": selection.candidate,
        "beats_baseline": selection.beats_baseline,
        "why": selection.why,
    }
    tested, test, gate = selection.tested, selection.test, selection.gate
    if tested is None or test is None or gate is None or selection.windows is None:
        return answer
    from batch_predictions.models.queries.query_answers import (
        calibration_rows,
        count_positives,
        example_rows,
        strongest_features,
    )

    return {
        **answer,
        "settings": settings_lines(query),
        "test_day": selection.windows.test_day,
        "fit_days": [day.isoformat() for day in selection.windows.fit_days],
        "rows": len(test),
        "positives": count_positives(test),
        "metric": gate.metric,
        "models": [row for row in selection.metrics if not str(row["metric"]).endswith("_gain")],
        "gains": {
            name: {"mean": gain.mean, "lower": gain.lower, "upper": gain.upper}
            for name, gain in gate.gains.items()
        },
        "calibration": calibration_rows(tested, test),
        "features": strongest_features(selection)[:SHOWN],
        "snapshot_share": sum(selection.snapshot_shares.values()),
        "left_out": list(selection.left_out),
        "examples": example_rows(tested, test, SHOWN),
    }


def settings_lines(query: PredictiveQuery) -> str:
    """The lines of batch_predictions.yaml that declare a query."""
    import yaml

    values = query.model_dump(
        by_alias=True, exclude={"name"}, exclude_defaults=True, exclude_none=True
    )
    text = yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=10_000)
    return f"predictions:\n  my_prediction: {text.strip()}"


def _print_answer(answer: dict[str, Any]) -> None:
    typer.echo(f"{answer['question']}\n\n{answer['why']}")
    if "rows" not in answer:
        return
    typer.echo(
        f"\n{answer['rows']:,} rows as of {answer['test_day']}, {answer['positives']:,} with "
        f"events; fitted on {len(answer['fit_days'])} earlier days"
    )
    print_table(_metrics_table(answer["models"]))
    typer.echo("\npredicted and observed, by tenths")
    print_table(_rounded(answer["calibration"]))
    if answer["features"]:
        typer.echo("\nwhat the trees use most")
        print_table(_rounded(answer["features"]))
        typer.echo(
            f"{answer['snapshot_share']:.0%} of their gain is of attributes of users or items, "
            "whose values of today were used for past days"
        )
    typer.echo("\nexamples")
    print_table(_rounded(answer["examples"]))
    typer.echo(
        f"\nthis took {answer['seconds']:.0f} s; a weekly training takes twice as long, since it "
        "also fits the model that serves"
        "\nto predict it every day, write into batch_predictions.yaml:\n"
    )
    typer.echo(answer["settings"])


def _metrics_table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for every model with its metrics as columns."""
    table: dict[str, dict[str, Any]] = {}
    for row in rows:
        table.setdefault(row["candidate"], {"model": row["candidate"]})[row["metric"]] = row[
            "value"
        ]
    names = dict.fromkeys(name for row in table.values() for name in row)
    return _rounded([{name: row.get(name) for name in names} for row in table.values()])


def _rounded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in row.items()}
        for row in rows
    ]


def _save_plot(selection: QuerySelection, path: Path) -> None:
    from batch_predictions.models.queries.query_plots import plot_calibration_of_query

    figure = plot_calibration_of_query(selection)
    if figure is not None:
        figure.savefig(path, dpi=150, bbox_inches="tight")
        typer.echo(f"wrote {path}", err=True)
