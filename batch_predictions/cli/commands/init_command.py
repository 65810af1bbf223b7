"""The command `batch-predictions init`, which writes a settings file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from batch_predictions.cli.console.command import command
from batch_predictions.core.redaction import has_secret
from batch_predictions.settings import FILE_NAME, SettingsError, as_yaml

ExampleExport = Literal["shop", "clicks", "reviews", "marketplace"]
EXAMPLE_FOLDER = "export"
MAX_CHECKS = 4
"""Checks of `init --check`: each may find something that the one before could not see."""


@dataclass(frozen=True)
class Proposal:
    """What the check of a source proposes.

    Attributes:
        settings: of the section `source`.
        refusals: why no row is read of tables that have some.
        questions: what the data does not decide.
        notes: files that are not read, and the sums of the rows that are.
    """

    settings: dict[str, object] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@command("init", order=10)
def init(
    source: Annotated[
        str, typer.Option(help="Kind of source, such as files, or that of an adapter of a plugin.")
    ] = "files",
    path: Annotated[str | None, typer.Option(help="Folder or URL of the source.")] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Check the source, and write the settings that fit it."),
    ] = False,
    example: Annotated[
        ExampleExport | None,
        typer.Option(
            help="Write a made-up export into the folder export, and check it: orders of a shop, "
            "clicks, reviews of apps, or orders of a marketplace."
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Write a commented settings file into the working directory.

    Without data at hand: `batch-predictions init --example shop`.

    With --check, the source is read, and the settings that `check-source` proposes for it are in
    the file; what it asks is printed. Read them before the first run. Exits with 1 if a table
    cannot be read, or if all of its rows are refused.
    """
    target = Path(FILE_NAME)
    if target.exists() and not force:
        raise SettingsError(f"{target} exists already: edit it, or replace it with --force")
    if example:
        path, check = _write_example(example), True
    source_settings: dict[str, object] = {"kind": source}
    if path:
        if has_secret(path):
            raise SettingsError(
                "--path has a password or key, which would be written to the file: remove it, and "
                "set credentials in the environment, such as AWS_ACCESS_KEY_ID"
            )
        source_settings["path"] = path
    proposal = Proposal()
    with _set_aside(target):
        if check:
            proposal = _propose(source_settings)
    for refusal in proposal.refusals:
        typer.echo(f"please decide: {refusal}")
    text = as_yaml({"source": source_settings | proposal.settings})
    target.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {target}: every setting is explained in it")
    for line in (*(f"please decide: {q}" for q in proposal.questions), *proposal.notes):
        typer.echo(line)
    if source == "sql":
        typer.echo(
            "set the URL of the database in the environment, not in the file: export "
            "BATCH_PREDICTIONS_SOURCE__URL=postgresql://user:password@host/database; and name your "
            "tables in source.tables",
            err=True,
        )
    typer.echo("next: batch-predictions check-source", err=True)
    if proposal.refusals:
        raise typer.Exit(1)


def _write_example(example: ExampleExport) -> str:
    """Writes a made-up export into a new folder of the working directory; the folder's name."""
    from batch_predictions.sources.example_exports.click_stream import write_click_stream
    from batch_predictions.sources.example_exports.marketplace import write_marketplace_export
    from batch_predictions.sources.example_exports.reviews import write_review_export
    from batch_predictions.sources.example_exports.shop import write_shop_export

    folder = Path(EXAMPLE_FOLDER)
    if folder.exists():
        raise SettingsError(f"{folder} exists already: --example writes a new folder")
    exports: dict[ExampleExport, Callable[[Path], object]] = {
        "shop": write_shop_export,
        "clicks": write_click_stream,
        "reviews": write_review_export,
        "marketplace": write_marketplace_export,
    }
    exports[example](folder)
    typer.echo(f"wrote {len([*folder.rglob('*.*')])} files of a made-up export into {folder}/")
    return EXAMPLE_FOLDER


@contextmanager
def _set_aside(target: Path) -> Iterator[None]:
    """Keeps an existing settings file as .bak, so that the block does not read it."""
    backup = target.with_name(f"{target.name}.bak")
    if not target.exists():
        yield
        return
    target.replace(backup)
    try:
        yield
    except BaseException:
        backup.replace(target)
        raise
    typer.echo(f"the earlier file is {backup} now")


def _propose(source_settings: dict[str, object]) -> Proposal:
    """Proposes settings of a source from its data.

    The first check finds files and columns, later ones what is in them.
    """
    from batch_predictions.cli.console.review_languages import detect_text_languages
    from batch_predictions.settings import Settings, home_folder
    from batch_predictions.sources.checking.check import check_source
    from batch_predictions.sources.checking.suggestions import merge_settings

    proposed: dict[str, object] = {}
    questions: dict[str, None] = {}
    for _ in range(MAX_CHECKS):
        # A mapping is merged with the environment, which may have the URL of a database.
        sections: dict[str, Any] = {"source": source_settings | proposed}
        settings = Settings(home=home_folder(), **sections)
        report = check_source(settings, detect_languages=detect_text_languages)
        questions |= dict.fromkeys(report.questions)
        merged = merge_settings(proposed, report.suggested_settings)
        if merged == proposed:
            break
        proposed = merged
    notes = [f"not read: {text}" for text in report.unreadable.values()]
    if sums := report.render_sums():
        notes.append(f"as proposed, a run would read (compare it with your books):\n{sums}")
    return Proposal(proposed, report.refusals, list(questions), notes)
