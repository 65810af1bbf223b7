"""`batch-predictions benchmark …`: this project and its peers, measured in one run.

The benchmarks are in the folder `benchmarks/` of the repository, outside the package: they need
peers and data that running the platform does not. Results are one JSON object on the standard
output, progress is on the standard error.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.options import Home, Json, load_settings
from batch_predictions.cli.console.printing import print_table
from batch_predictions.settings import SettingsError

FOLDER = Path(__file__).parents[3] / "benchmarks"

Repeats = Annotated[int, typer.Option(min=1, help="Interleaved repeats; medians are shown.")]


@command("benchmark topk", order=10)
def benchmark_topk(
    only: Annotated[
        str, typer.Option(help="The case of this name, or all whose names contain it.")
    ] = "",
    repeats: Repeats = 5,
    check: Annotated[
        bool, typer.Option("--check", help="Only compare lists with brute force in float64.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Exact top-k, `implicit` and a bare matrix product: on Gaussian and on learned factors."""
    module = load_benchmark("topk")
    print_result(module.measure(only, 0 if check else repeats), as_json)


@command("benchmark trees", order=20)
def benchmark_trees(repeats: Repeats = 5, as_json: Json = False) -> None:
    """LightGBM's own predictor and compiled trees."""
    print_result(load_benchmark("trees").measure(repeats), as_json)


@command("benchmark engine", order=30)
def benchmark_engine(
    seconds: Annotated[float, typer.Option(help="Duration of the bare loop.")] = 60.0,
    repeats: Repeats = 5,
    ray: Annotated[bool, typer.Option("--ray", help="The Ray engine, too.")] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps staged users and finished times, so that an interrupted run "
            "continues. [default: nothing is kept]"
        ),
    ] = None,
    only: Annotated[
        str,
        typer.Option(
            help="Modes to run, with commas: bare, one, two, ray, killed; with --folder the kept "
            "times of the others are used."
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """The engine and a bare loop over the same batches; two workers; a run that is killed."""
    modes = [mode.strip() for mode in only.split(",") if mode.strip()]
    module = load_benchmark("engine")
    try:
        result = module.measure(seconds, repeats, ray, folder, modes)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    print_result(result, as_json)


@command("benchmark memory", order=40)
def benchmark_memory(
    users: Annotated[int, typer.Option(help="Users to score.")] = 1_000_000,
    items: Annotated[int, typer.Option(help="Items of the catalogue.")] = 100_000,
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder for the generated rows. [default: a temporary folder]"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Peak memory and throughput of a million users streamed from Parquet to Parquet."""
    print_result(load_benchmark("memory").measure(users, items, folder), as_json)


@command("benchmark night", order=45)
def benchmark_night(
    users: Annotated[int, typer.Option(min=1, help="Users of the shop.")] = 100_000,
    items: Annotated[int, typer.Option(min=1, help="Items of the shop.")] = 20_000,
    events: Annotated[int, typer.Option(min=1, help="Purchases of all days.")] = 10_000_000,
    days: Annotated[int, typer.Option(min=15, help="Days of history.")] = 120,
    models: Annotated[
        str, typer.Option(help="Models that are trained and predict, with commas.")
    ] = "recommender,demographic,churn",
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps the shop, its home and the times of finished steps, so that an "
            "interrupted run continues. [default: a temporary folder]"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """A night of a generated shop of any size: ingest, features, predictions, release, lookups."""
    names = [name.strip() for name in models.split(",") if name.strip()]
    try:
        result = load_benchmark("night").measure(users, items, events, days, names, folder)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if as_json:
        print_result(result, as_json=True)
        return
    steps = {**result["steps"], "the night": result["night"]}
    columns = ("seconds", "cpu_seconds", "peak_mib", "rows", "rows_per_second")
    print_table(
        [
            {"step": name, **{column: _with_commas(values.get(column)) for column in columns}}
            for name, values in steps.items()
        ]
    )
    lookups = result["steps"]["look_up"]
    typer.echo(f"lookups: p50 {lookups['p50_ms']} ms, p99 {lookups['p99_ms']} ms")


@command("benchmark sentiment", order=50)
def benchmark_sentiment(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Parquet, CSV or TSV: text, and rating or label.")],
    test: Annotated[Path | None, typer.Option(help="Test on this file instead of folds.")] = None,
    folds: Annotated[int, typer.Option(help="Folds of the file.", min=2)] = 5,
    group: Annotated[
        str | None,
        typer.Option(help="Column whose values stay within a fold, such as the product."),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(help="Names, with commas. [default: those of a training]"),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps finished folds, so that an interrupted run continues."
        ),
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Fit every sentiment model; print accuracy, macro-F1, F1 by class, reviews per second."""
    from batch_predictions.cli.benchmark.sentiment import benchmark as compare

    settings = load_settings(home, context).sentiment
    report = compare(
        file,
        settings,
        test=test,
        fold_count=folds,
        group=group,
        models=list(dict.fromkeys(models.split(","))) if models else (),
        progress=lambda text: typer.echo(text, err=True),
        cache_folder=keep,
    )
    if as_json:
        typer.echo(json.dumps(report))
        return
    rows = [
        {"model": name, **{k: v for k, v in metrics.items() if k != "f1"}}
        | {f"f1 {label}": value for label, value in metrics["f1"].items()}
        for name, metrics in report["models"].items()
    ]
    print_table(rows)


@command("benchmark forecast", order=60)
def benchmark_forecast(
    file: Annotated[Path, typer.Argument(help="Parquet or CSV: series, t, y, part (train, test).")],
    season: Annotated[int, typer.Option(min=1, help="Steps of a season: 52 weeks, 24 hours.")],
    horizon: Annotated[int, typer.Option(min=1, help="Steps to forecast.")],
    as_json: Json = False,
) -> None:
    """sMAPE, MASE and OWA by M4's formula: SARIMA, Naive2, seasonal naive and Theta."""
    from batch_predictions.cli.benchmark.forecast import benchmark as compare

    report = compare(file, season, horizon, lambda text: typer.echo(text, err=True))
    if as_json:
        typer.echo(json.dumps(report))
        return
    per_series = {k: v for k, v in report["chosen"].items() if k != "series_by_method"}
    rows = {**report["methods"], "chosen per series": per_series}
    print_table([{"method": name, **metrics} for name, metrics in rows.items()])


def _with_commas(value: float | None) -> str:
    return "" if value is None else f"{value:,}"


def load_benchmark(name: str) -> Any:
    """The module `benchmarks/<name>.py` of the checkout.

    Raises:
        SettingsError: the package is installed without the repository.
    """
    if not (FOLDER / f"{name}.py").exists():
        raise SettingsError(
            f"benchmarks are in the repository and not in the installed package: {FOLDER} has no "
            f"{name}.py. Clone the repository and `pip install -e .`"
        )
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    return importlib.import_module(name)


def print_result(result: Any, as_json: bool) -> None:
    """Prints a result as JSON, indented unless `as_json`."""
    typer.echo(json.dumps(result) if as_json else json.dumps(result, indent=2))
