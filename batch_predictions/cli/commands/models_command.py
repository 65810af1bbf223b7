"""`batch-predictions models …`: trained models, their metrics, and which version serves."""

from __future__ import annotations

import datetime as dt
import json
import sys
from typing import Annotated

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.cli.console.options import Home, Json, day_of, load_settings
from batch_predictions.cli.console.printing import print_rows
from batch_predictions.settings import SettingsError


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
    model: Annotated[
        str | None,
        typer.Argument(help="recommender, demographic, … [default: the only one, or recommender]"),
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Metrics of every candidate and baseline of the newest training, on its hold-out."""
    from batch_predictions.models.model_store import ModelStore
    from batch_predictions.warehouse import Warehouse

    settings = load_settings(home, context)
    trained = ModelStore.of(settings).models()
    model = model or ("recommender" if "recommender" in trained else (trained or [""])[0])
    if model not in trained:
        named = ", ".join(trained) or "none yet: `batch-predictions run` trains them"
        raise SettingsError(f"no model {model!r} was trained in this home; there is {named}")
    rows = Warehouse.of(settings).query(
        """select trained_through, candidate, metric, value, lower, upper, n
        from evaluation.model_metrics where model = $model and trained_through =
        (select max(trained_through) from evaluation.model_metrics where model = $model)
        order by metric, value desc""",
        {"model": model},
    )
    print_rows(rows.to_pylist(), as_json)


@command("models card", order=22)
def models_card(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="recommender, demographic, …")],
    date: Annotated[
        dt.datetime | None,
        typer.Option(
            "--date",
            formats=["%Y-%m-%d"],
            help="The version that serves on this day. [default: the newest]",
        ),
    ] = None,
    home: Home = None,
) -> None:
    """The card of a model, Markdown: data, decision, candidates, realized metrics, drift."""
    from batch_predictions.models.training import trainings
    from batch_predictions.operations.report.quality_sections import card_of_model
    from batch_predictions.planning.declarations import load_declarations

    settings = load_settings(home, context)
    load_declarations(settings)
    if model not in trainings():
        raise SettingsError(f"there is no model {model!r}: choose {', '.join(trainings())}")
    typer.echo(card_of_model(settings, model, day_of(date)).as_markdown(), nl=False)


@command("models train", order=25)
def models_train(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="recommender, demographic, …")],
    force: Annotated[
        bool,
        typer.Option("--force", help="Train it even if nothing that it reads is new."),
    ] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Train a model through the newest week that has ended, with the rows that the home has.

    `run` does it by itself when the rows, the code or the settings of the model have changed. Equal
    ones give an equal version. The next run predicts with the model that serves.
    """
    from batch_predictions.core.home_lock import home_lock
    from batch_predictions.planning.declarations import load_declarations

    settings = load_settings(home, context)
    with home_lock(settings.home, " ".join(["batch-predictions", *sys.argv[1:]])):
        load_declarations(settings)
        from batch_predictions.definitions import defs
        from batch_predictions.orchestration.train_model import train_model

        decision, reason = train_model(settings, defs, model, force=force)
    if as_json:
        typer.echo(json.dumps(decision.model_dump(mode="json") | {"reason": reason}))
        return
    trained = f"trained ({reason})" if reason else "up to date, nothing was trained (--force does)"
    typer.echo(f"{model} through {decision.effective_from}: {trained}")
    typer.echo(f"{decision.version} {decision.decision}: {decision.why}")


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
    """Serve an older version of a model from a day on, until the next training decides."""
    from batch_predictions.models.model_store import ModelStore
    from batch_predictions.models.training import log_decision
    from batch_predictions.warehouse import Warehouse

    settings = load_settings(home, context)
    decision = ModelStore.of(settings).roll_back(model, day.date(), to, why)
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    log_decision(Warehouse.of(settings), decision, now)
    typer.echo(f"{model}: {decision.version} serves from {decision.effective_from} on")
