"""`batch-predictions benchmark …`: a file of your own, or this project and its peers.

Those of a file are in `cli/benchmark/`. The others are scripts in the folder `benchmarks/` of the
repository, outside the package: they need peers and data that running the platform does not. Each
has its options in `main`. Results are one JSON object on the standard output, progress is on the
standard error.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import typer

from batch_predictions.cli.console.command import Command
from batch_predictions.settings import SettingsError

FOLDER = Path(__file__).parents[3] / "benchmarks"
OF_A_FILE = ("sentiment", "forecast")
"""Benchmarks that are in the package."""
SCRIPTS = {
    "topk": "Exact top-k, `implicit` and a bare matrix product: on Gaussian and learned factors.",
    "trees": "LightGBM's own predictor and compiled trees.",
    "engine": "The engine and a bare loop over the same batches; two workers; a killed run.",
    "memory": "Peak memory and throughput of a million users streamed from Parquet to Parquet.",
    "night": "A night of a generated shop of any size: ingest, features, predictions, release.",
    "sentiment": "Fit every sentiment model; accuracy, macro-F1, F1 by class, reviews per second.",
    "forecast": "sMAPE, MASE and OWA by M4's formula: SARIMA, ETS, Naive2, seasonal naive, Theta.",
}


def _script_command(name: str, summary: str, order: int) -> Command:
    def run(context: typer.Context) -> None:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command(help=summary)(load_benchmark(name).main)
        app(context.args, prog_name=context.command_path, obj=context.obj)

    run.__doc__ = summary
    return Command(f"benchmark {name}", run, order, parses_arguments=True)


COMMANDS = tuple(
    _script_command(name, summary, order) for order, (name, summary) in enumerate(SCRIPTS.items())
)


def load_benchmark(name: str) -> Any:
    """The module of a benchmark: of the package, or `benchmarks/<name>.py` of the checkout.

    Raises:
        SettingsError: the package is installed without the repository, which has the benchmark.
    """
    if name in OF_A_FILE:
        return importlib.import_module(f"batch_predictions.cli.benchmark.{name}")
    if not (FOLDER / f"{name}.py").exists():
        raise SettingsError(
            f"benchmarks are in the repository and not in the installed package: {FOLDER} has no "
            f"{name}.py. Clone the repository and `pip install -e .`"
        )
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    return importlib.import_module(name)
