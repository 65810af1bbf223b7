"""`batch-predictions models …`: trained models and their figures."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer

from batch_predictions.cli.options import Home, Json, settings_of
from batch_predictions.cli.printing import show

models_app = typer.Typer(help="Trained models and their figures.", no_args_is_help=True)


@models_app.command("list")
def models_list(context: typer.Context, home: Home = None, as_json: Json = False) -> None:
    """Decisions about every model: which version serves from which day on, and why."""
    from batch_predictions.model_store import ModelStore

    models = ModelStore.of(settings_of(home, context))
    rows = [
        each.model_dump(mode="json", include={"effective_from", "model", "version", "decision"})
        | {"why": each.why}
        for name in models.models()
        for each in models.decisions(name)
    ]
    show(rows, as_json)


@models_app.command("metrics")
def models_metrics(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="recommender, demographic, …")] = "recommender",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """What every candidate and baseline of the newest training reached on its hold-out."""
    from batch_predictions.warehouse import Warehouse

    rows = Warehouse.of(settings_of(home, context)).query(
        """select trained_through, candidate, metric, value, lower, upper, n
        from evaluation.model_metrics where model = $model and trained_through =
        (select max(trained_through) from evaluation.model_metrics where model = $model)
        order by metric, value desc""",
        {"model": model},
    )
    show(rows.to_pylist(), as_json)


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

    settings = settings_of(home, context)
    decision = ModelStore.of(settings).roll_back(model, day.date(), to, why)
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    log_decision(Warehouse.of(settings), decision, now)
    typer.echo(f"{model}: {decision.version} serves from {decision.effective_from} on")
