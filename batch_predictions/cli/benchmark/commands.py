"""`batch-predictions benchmark …`: this project and its peers side by side in one run.

The benchmarks lie in `benchmarks/` of the repository, beside the package: they need peers and data
that running the platform does not. Results are one JSON object on the standard output, progress is
on the standard error.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from batch_predictions.cli.options import Home, Json, settings_of
from batch_predictions.cli.printing import print_table
from batch_predictions.settings import SettingsError

FOLDER = Path(__file__).parents[3] / "benchmarks"

benchmark_app = typer.Typer(
    help="Measure this machine: the engine beside its peers, interleaved, as ratios.",
    no_args_is_help=True,
)

Repeats = Annotated[int, typer.Option(min=1, help="Interleaved repeats; medians are shown.")]


@benchmark_app.command("topk")
def topk(
    only: Annotated[
        str, typer.Option(help="The case of this name, or all whose names contain it.")
    ] = "",
    repeats: Repeats = 5,
    check: Annotated[
        bool, typer.Option("--check", help="Only compare lists with brute force in float64.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Exact top-k beside `implicit` and a bare matrix product: Gaussian and learned factors."""
    module = benchmark("topk")
    show(module.measure(only, 0 if check else repeats), as_json)


@benchmark_app.command("trees")
def trees(repeats: Repeats = 5, as_json: Json = False) -> None:
    """LightGBM's own predictor beside compiled trees."""
    show(benchmark("trees").measure(repeats), as_json)


@benchmark_app.command("engine")
def engine(
    seconds: Annotated[float, typer.Option(help="What the bare loop is to take.")] = 60.0,
    repeats: Repeats = 5,
    ray: Annotated[bool, typer.Option("--ray", help="The Ray engine, too.")] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Keeps the staged users and the times of ways that have ended here, so that a run "
            "that was cut off goes on. [default: nothing is kept]"
        ),
    ] = None,
    only: Annotated[
        str,
        typer.Option(
            help="With commas, ways to run now: bare, one, two, ray, killed; with --folder the "
            "others' times of before are used."
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """The engine beside a bare loop over the same batches; two workers; a run that is killed."""
    ways = [each.strip() for each in only.split(",") if each.strip()]
    module = benchmark("engine")
    try:
        result = module.measure(seconds, repeats, ray, folder, ways)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    show(result, as_json)


@benchmark_app.command("memory")
def memory(
    users: Annotated[int, typer.Option(help="Users to score.")] = 1_000_000,
    items: Annotated[int, typer.Option(help="Items of the catalogue.")] = 100_000,
    folder: Annotated[
        Path | None, typer.Option(help="Where the rows are made. [default: the system's own]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Peak memory and pace of a million users streamed from Parquet to Parquet."""
    show(benchmark("memory").measure(users, items, folder), as_json)


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
    keep: Annotated[
        Path | None,
        typer.Option(help="Folder that keeps finished folds: a run that was cut short goes on."),
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Fit every sentiment model and print accuracy, macro-F1, F1 by class and reviews a second."""
    from batch_predictions.cli.benchmark.sentiment import benchmark as compare

    settings = settings_of(home, context).sentiment
    names = models.split(",") if models else ["tfidf_lr", *settings.candidates]
    report = compare(
        file,
        settings,
        test=test,
        fold_count=folds,
        group=group,
        models=list(dict.fromkeys(names)),
        progress=lambda text: typer.echo(text, err=True),
        cache_folder=keep,
    )
    if as_json:
        typer.echo(json.dumps(report))
        return
    rows = [
        {"model": name, **{k: v for k, v in each.items() if k != "f1"}}
        | {f"f1 {label}": value for label, value in each["f1"].items()}
        for name, each in report["models"].items()
    ]
    print_table(rows)


@benchmark_app.command("forecast")
def benchmark_forecast(
    file: Annotated[Path, typer.Argument(help="Parquet or CSV: series, t, y, part (train, test).")],
    season: Annotated[int, typer.Option(min=1, help="Steps of a season: 52 weeks, 24 hours.")],
    horizon: Annotated[int, typer.Option(min=1, help="Steps to forecast.")],
    as_json: Json = False,
) -> None:
    """sMAPE, MASE and OWA by M4's formula: SARIMA beside Naive2, seasonal naive and Theta."""
    from batch_predictions.cli.benchmark.forecast import benchmark as compare

    report = compare(file, season, horizon, lambda text: typer.echo(text, err=True))
    if as_json:
        typer.echo(json.dumps(report))
        return
    chosen = {k: v for k, v in report["chosen"].items() if k != "series_by_method"}
    rows = {**report["methods"], "chosen per series": chosen}
    print_table([{"method": name, **each} for name, each in rows.items()])


def benchmark(name: str) -> Any:
    """The module `benchmarks/<name>.py` of the checkout.

    Raises:
        SettingsError: the package is installed without the repository around it.
    """
    if not (FOLDER / f"{name}.py").exists():
        raise SettingsError(
            f"benchmarks are in the repository and not in the installed package: {FOLDER} has no "
            f"{name}.py. Clone the repository and `pip install -e .`"
        )
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    return importlib.import_module(name)


def show(result: Any, as_json: bool) -> None:
    """The result on the standard output."""
    typer.echo(json.dumps(result) if as_json else json.dumps(result, indent=2))
