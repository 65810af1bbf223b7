"""`batch-predictions`: the platform from a shell, for cron and for trying it out.

Results go to the standard output, progress and errors to the standard error. Heavy modules are
imported by the commands that need them, so that a lookup starts at once.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from batch_predictions.benchmarking import benchmark_app
from batch_predictions.settings import FILE_NAME, Settings, SettingsError, as_yaml

app = typer.Typer(
    name="batch-predictions",
    help="Machine-learning predictions in batches: ingest, train, predict, release, look up.\n\n"
    "Begin with `batch-predictions demo`, or `batch-predictions init` for a source of your own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
lookup_app = typer.Typer(help="Look predictions up in the current release.", no_args_is_help=True)
releases_app = typer.Typer(help="Releases: what applications see.", no_args_is_help=True)
models_app = typer.Typer(help="Trained models and their figures.", no_args_is_help=True)
app.add_typer(lookup_app, name="lookup")
app.add_typer(releases_app, name="releases")
app.add_typer(models_app, name="models")
app.add_typer(benchmark_app, name="benchmark")

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="Home folder: warehouse, models, releases. [env: BATCH_PREDICTIONS_HOME; "
        "default: .batch_predictions]",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Day = Annotated[
    dt.datetime | None,
    typer.Option(formats=["%Y-%m-%d"], show_default=False),
]


@app.callback()
def _root(context: typer.Context, home: Home = None) -> None:
    context.obj = home


def _settings(home: Path | None, context: typer.Context) -> Settings:
    chosen = home
    parent: Any = context
    while chosen is None and parent is not None:
        chosen = parent.obj if isinstance(parent.obj, Path) else None
        parent = parent.parent
    return Settings.load(chosen)


@app.command()
def init(
    source: Annotated[
        str, typer.Option(help="Adapter: complete_journey, files or movielens.")
    ] = "files",
    path: Annotated[Path | None, typer.Option(help="Folder of the source.")] = None,
    force: Annotated[bool, typer.Option(help="Replace the file that is there.")] = False,
) -> None:
    """Write a commented settings file into the working directory."""
    target = Path(FILE_NAME)
    if target.exists() and not force:
        raise SettingsError(f"{target} is there already: edit it, or replace it with --force")
    chosen: dict[str, Any] = {"kind": source}
    if path:
        chosen["path"] = str(path)
    target.write_text(as_yaml({"source": chosen}), encoding="utf-8")
    typer.echo(f"wrote {target}: every setting is explained in it")
    typer.echo("next: batch-predictions check-source", err=True)


@app.command("check-source")
def check_source(
    context: typer.Context,
    home: Home = None,
    as_json: Json = False,
    rows: Annotated[int, typer.Option(help="Rows to read of each table.", min=1)] = 1000,
) -> None:
    """Read a sample of the source through the mapping and say what was found; write nothing."""
    from batch_predictions.sources.check import check

    report = check(_settings(home, context), rows)
    typer.echo(json.dumps(report.as_dict(), default=str) if as_json else report.render())


@app.command()
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
    as_json: Json = False,
) -> None:
    """Ingest what is missing, train what is due, predict, release. For cron, and to begin.

    Running it again changes nothing that has not changed in the source.
    """
    _run(_settings(home, context), _date(first), _date(date), as_json, tour=False)


@app.command()
def demo(
    context: typer.Context,
    home: Home = None,
    days: Annotated[int, typer.Option(help="Days to predict, up to yesterday.", min=1)] = 7,
    as_json: Json = False,
) -> None:
    """Run on the default source, a grocer's year of real shopping, and show what was made."""
    settings = _settings(home, context)
    _run(settings, None, None, as_json, tour=True, days=days)


def _run(
    settings: Settings,
    first: dt.date | None,
    last: dt.date | None,
    as_json: bool,
    *,
    tour: bool,
    days: int | None = None,
) -> None:
    from batch_predictions.home import exclusive
    from batch_predictions.sources.registry import begin

    what = " ".join(["batch-predictions", *sys.argv[1:]])
    with exclusive(settings.home, what):
        # Partitions are declared with the home's first day when the modules below are loaded.
        begin(settings)
        from batch_predictions.automation.run import run as run_chain
        from batch_predictions.automation.tour import as_text, simulate_sign_up
        from batch_predictions.definitions import defs

        summary = run_chain(settings, defs, first, last, days)
        if tour and summary.release_id:
            simulate_sign_up(settings)
    if as_json:
        typer.echo(json.dumps(summary.as_dict(), default=str))
    else:
        typer.echo(as_text(settings, summary))


@lookup_app.command("recommendations")
def lookup_recommendations(
    context: typer.Context,
    user_id: Annotated[str, typer.Argument(help="Whom to recommend to; need not be known.")],
    age_bracket: Annotated[
        str | None, typer.Option(help="Such as 35-44, or an age; for a user not known yet.")
    ] = None,
    gender: Annotated[str | None, typer.Option(help="As the source writes it.")] = None,
    location: Annotated[str | None, typer.Option(help="As the source writes it.")] = None,
    k: Annotated[int, typer.Option(help="How many items at most.", min=1)] = 10,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """The best items for a user: their own, else what users like them want, else what is popular.

    The source of the answer is said: personal, demographic or popular.
    """
    from batch_predictions.serving.lookup import Lookup

    with Lookup(_settings(home, context)) as lookup:
        answer = lookup.recommendations(
            user_id, age_bracket=age_bracket, gender=gender, location=location, k=k
        )
    if as_json:
        typer.echo(json.dumps(answer, default=str))
        return
    segment = answer["segment"]
    typer.echo(
        f"{user_id}: {answer['source']}, as of {answer['as_of']}, release {answer['release_id']}"
        + (f", segment {segment}" if segment else "")
    )
    _table(answer["items"])


@lookup_app.command("sentiment")
def lookup_sentiment(
    context: typer.Context,
    item_id: Annotated[str, typer.Argument(help="Which item.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """What an item's customers felt in the newest week, and the words that say why."""
    from batch_predictions.serving.lookup import Lookup
    from batch_predictions.serving.sentiment import as_lines, item_sentiment

    with Lookup(_settings(home, context)) as lookup:
        answer = item_sentiment(lookup, item_id)
    typer.echo(json.dumps(answer, default=str) if as_json else "\n".join(as_lines(answer)))


@releases_app.command("list")
def releases_list(context: typer.Context, home: Home = None, as_json: Json = False) -> None:
    """Releases that are kept, newest first; * is what applications see."""
    from batch_predictions.serving.releases import releases
    from batch_predictions.serving.store import Store

    store = Store.of(_settings(home, context))
    try:
        rows = [
            {
                "current": "*" if each.current else "",
                "release_id": each.release_id,
                "as_of": each.as_of,
                "created_at": each.created_at,
                "status": each.status,
                "rows": sum(each.rows.values()),
            }
            for each in releases(store)
        ]
    finally:
        store.close()
    _show(rows, as_json)


@releases_app.command("rollback")
def releases_rollback(
    context: typer.Context,
    to: Annotated[
        str | None, typer.Argument(help="Release to serve. [default: the one before]")
    ] = None,
    home: Home = None,
) -> None:
    """Move applications back to an earlier release, at once."""
    from batch_predictions.serving.releases import rollback
    from batch_predictions.serving.store import Store

    store = Store.of(_settings(home, context))
    try:
        typer.echo(rollback(store, to).note)
    finally:
        store.close()


@models_app.command("list")
def models_list(context: typer.Context, home: Home = None, as_json: Json = False) -> None:
    """Decisions about every model: which version serves from which day on, and why."""
    from batch_predictions.model_store import ModelStore

    models = ModelStore.of(_settings(home, context))
    rows = [
        each.model_dump(mode="json", include={"effective_from", "model", "version", "decision"})
        | {"why": each.why}
        for name in models.models()
        for each in models.decisions(name)
    ]
    _show(rows, as_json)


@models_app.command("metrics")
def models_metrics(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="recommender, demographic, …")] = "recommender",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """What every candidate and baseline of the newest training reached on its hold-out."""
    from batch_predictions.warehouse import Warehouse

    rows = Warehouse.of(_settings(home, context)).query(
        """select trained_through, candidate, metric, value, lower, upper, n
        from evaluation.model_metrics where model = $model and trained_through =
        (select max(trained_through) from evaluation.model_metrics where model = $model)
        order by metric, value desc""",
        {"model": model},
    )
    _show(rows.to_pylist(), as_json)


@models_app.command("rollback")
def models_rollback(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="recommender, demographic, …")],
    day: Annotated[
        dt.datetime,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First day that it holds for."),
    ],
    why: Annotated[str, typer.Option(help="The reason, for the log.")],
    to: Annotated[str | None, typer.Option(help="Version. [default: the one before]")] = None,
    home: Home = None,
) -> None:
    """Let an older version serve from a day on, until a later training decides anew."""
    from batch_predictions.model_store import ModelStore
    from batch_predictions.models.training import log_decision
    from batch_predictions.warehouse import Warehouse

    settings = _settings(home, context)
    decision = ModelStore.of(settings).roll_back(model, day.date(), to, why)
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    log_decision(Warehouse.of(settings), decision, now)
    typer.echo(f"{model}: {decision.version} serves from {decision.effective_from} on")


@benchmark_app.command("sentiment")
def benchmark_sentiment(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Parquet, CSV or TSV: text, and rating or label.")],
    test: Annotated[Path | None, typer.Option(help="Judge on this file instead of folds.")] = None,
    folds: Annotated[int, typer.Option(help="Folds of the file.", min=2)] = 5,
    group: Annotated[
        str | None, typer.Option(help="Column whose values no fold parts, such as the product.")
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="Names, with commas. [default: sentiment.candidates]")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Fit every sentiment model and print accuracy, macro-F1, F1 by class and reviews a second."""
    from batch_predictions.sentiment_benchmark import benchmark

    settings = _settings(home, context).sentiment
    names = models.split(",") if models else ["tfidf_lr", *settings.candidates]
    report = benchmark(
        file,
        settings,
        test=test,
        folds_=folds,
        group=group,
        models=list(dict.fromkeys(names)),
        progress=lambda text: typer.echo(text, err=True),
    )
    if as_json:
        typer.echo(json.dumps(report))
        return
    rows = [
        {"model": name, **{k: v for k, v in each.items() if k != "f1"}}
        | {f"f1 {label}": value for label, value in each["f1"].items()}
        for name, each in report["models"].items()
    ]
    _table(rows)


def _date(value: dt.datetime | None) -> dt.date | None:
    return value.date() if value else None


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows, default=str))
    else:
        _table(rows)


def _table(rows: list[dict[str, Any]]) -> None:
    """Rows as aligned columns on the standard output."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    if not rows:
        typer.echo("none", err=True)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in rows[0]:
        number = all(isinstance(row[name], int | float) for row in rows)
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console = Console()
    # Piped into a file or a pager, nothing is folded.
    console.print(table) if console.is_terminal else Console(width=240).print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def main() -> None:
    """Runs a command; what went wrong is one line on the standard error, exit code 1."""
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        typer.echo("interrupted: what was finished is kept; run the command again", err=True)
        sys.exit(130)
    except Exception as error:
        if not _expected(error):
            raise
        typer.echo(f"batch-predictions: {error}", err=True)
        sys.exit(1)


def _expected(error: Exception) -> bool:
    """Errors whose message says what to do; others are faults and show their stack."""
    from batch_predictions.home import HomeBusyError, HomeError

    names = {"RunError", "ReleaseError", "SourceError", "ModelError", "WarehouseError"}
    known = isinstance(error, SettingsError | HomeError | HomeBusyError)
    return known or any(each.__name__ in names for each in type(error).__mro__)


if __name__ == "__main__":
    main()
