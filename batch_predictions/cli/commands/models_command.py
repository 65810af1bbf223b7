"""`batch-predictions models …`: trained models, their metrics, and which version serves."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.options import Home, Json, load_settings
from batch_predictions.cli.console.printing import print_rows


@command("models list", order=10)
def models_list(context: typer.Context, home: Home = None, as_json: Json = False) -> None:
    """Decisions about every model: which version serves from which day on, and why."""
    from batch_predictions.models.model_store import ModelStore

    models = ModelStore.of(load_settings(home, context))
    rows = [
        decision.model_dump(mode="json", include={"effective_from", "model", "version", "decision"})
        | {"why": decision.why}
        for name in models.models()
        for decision in models.decisions(name)
    ]
    print_rows(rows, as_json)


@command("models metrics", order=20)
def models_metrics(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="recommender, demographic, …")] = "recommender",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Metrics of every candidate and baseline of the newest training, on its hold-out."""
    from batch_predictions.warehouse import Warehouse

    rows = Warehouse.of(load_settings(home, context)).query(
        """select trained_through, candidate, metric, value, lower, upper, n
        from evaluation.model_metrics where model = $model and trained_through =
        (select max(trained_through) from evaluation.model_metrics where model = $model)
        order by metric, value desc""",
        {"model": model},
    )
    print_rows(rows.to_pylist(), as_json)


@command("models rollback", order=30)
def models_rollback(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="recommender, demographic, …")],
    day: Annotated[
        dt.datetime,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First day that it serves."),
    ],
    why: Annotated[str, typer.Option(help="The reason, for the log.")],
    to: Annotated[str | None, typer.Option(help="Version. [default: the one before]")] = None,
    home: Home = None,
) -> None:
    """Let an older version serve from a day on, until the next training decides."""
    from batch_predictions.models.model_store import ModelStore
    from batch_predictions.models.training import log_decision
    from batch_predictions.warehouse import Warehouse

    settings = load_settings(home, context)
    decision = ModelStore.of(settings).roll_back(model, day.date(), to, why)
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    log_decision(Warehouse.of(settings), decision, now)
    typer.echo(f"{model}: {decision.version} serves from {decision.effective_from} on")
