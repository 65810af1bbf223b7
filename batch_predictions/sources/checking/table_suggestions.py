"""Proposes settings for files that belong to no table: patterns, columns, conditions, queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import duckdb

from batch_predictions.sources.base import Source, SourceError
from batch_predictions.sources.checking.file_guesses import (
    OTHER_COLUMNS,
    FileGuess,
    general_name,
    guess_table,
    names_price,
    pattern_of,
)
from batch_predictions.sources.checking.order_lines import (
    LineQuery,
    Orders,
    find_orders,
    sold_condition,
)
from batch_predictions.sources.checking.suggestions import (
    PREVIEW_ROWS,
    Preview,
    Suggestions,
    ask_about_times,
    suggest_values,
)
from batch_predictions.sources.checking.tax_columns import ask_about_tax, find_tax_columns
from batch_predictions.sources.files.patterns import fits, format_of
from batch_predictions.sources.rows.sandbox import as_source_errors, connect_memory
from batch_predictions.warehouse.path_sql import quote_identifier, quote_literal


class GuessedFile(NamedTuple):
    """A file's name, what it seems to be, and its first rows."""

    name: str
    guess: FileGuess
    preview: Preview


class Kind(NamedTuple):
    """Files of interactions with equal columns: how they are read.

    Attributes:
        files: the files.
        columns: column of the raw table to column of the files.
        query: what each line is; needed or not.
        condition: of the lines that were sold; None: all.
    """

    files: Sequence[GuessedFile]
    columns: dict[str, str]
    query: LineQuery
    condition: str | None

    @property
    def pattern(self) -> str:
        """A pattern that fits the files."""
        return pattern_of([file.name for file in self.files])

    @property
    def scan(self) -> str:
        """The files as they stand after `from`; texts of CSV files stay as they are."""
        pattern, format_ = quote_literal(self.pattern), format_of(self.files[0].name)
        orders = {tuple(file.preview) for file in self.files}
        options = ["all_varchar = true"] if format_ == "csv" else []
        options += ["union_by_name = true"] if len(orders) > 1 else []
        options += ["filename = true"] if self.query.several_files else []
        if not options:
            return pattern
        return f"read_{format_}({', '.join([pattern, *options])})"


def suggest_tables(source: Source, present: Sequence[str], unread: Sequence[str]) -> Suggestions:
    """Settings for files that belong to no table yet.

    Args:
        source: of the files.
        present: names of the tables that the source has.
        unread: names of the files.
    """
    suggestions = Suggestions()
    source = _suggest_encodings(source, suggestions, unread)
    guesses: dict[str, list[GuessedFile]] = {}
    for name in unread:
        preview = _preview(source, name, suggestions)
        guess = guess_table(name, tuple(preview)) if preview else None
        if guess is not None and guess.table not in present:
            guess = _without_repeated_id(guess, preview)
            guesses.setdefault(guess.table, []).append(GuessedFile(name, guess, preview))
    for files in guesses.values():
        for _, guess, preview in files:
            ask_about_times(suggestions, source.settings, guess.columns, preview)
    for table, files in guesses.items():
        by_columns: dict[tuple[str, ...], list[GuessedFile]] = {}
        for file in files:
            by_columns.setdefault(tuple(sorted(file.preview)), []).append(file)
        kinds = list(by_columns.values())
        if table == "interactions":
            _suggest_interactions(source, suggestions, kinds)
        else:
            _suggest_kinds(suggestions, table, [(files, files[0].guess.columns) for files in kinds])
    return suggestions


def _without_repeated_id(guess: FileGuess, preview: Preview) -> FileGuess:
    """A guess without the id of reviews if several rows have one: the others would be refused."""
    ids = preview.get(guess.columns.get("review_id", ""), ())
    if len({*ids}) == len(ids):
        return guess
    return replace(guess, columns={k: v for k, v in guess.columns.items() if k != "review_id"})


def _suggest_encodings(source: Source, suggestions: Suggestions, unread: Sequence[str]) -> Source:
    """Suggests encodings of files that are not UTF-8, and asks for those that are guessed.

    Files of one kind have a pattern, so that it is the encoding of later ones, too. Returns the
    source that reads by these encodings: lines that are not UTF-8 would be missing in all else
    that is suggested.
    """
    guesses = source.guess_encodings()
    kinds: dict[tuple[str, str], list[str]] = {}
    for name, (encoding, _) in guesses.items():
        pattern = general_name(name) if name in unread else name
        utf8_names = (file_name for file_name in unread if file_name not in guesses)
        fits_utf8_files = any(fits(file_name, pattern) for file_name in utf8_names)
        kinds.setdefault((name if fits_utf8_files else pattern, encoding), []).append(name)
    for (pattern, encoding), names in kinds.items():
        key = pattern if len(names) > 1 else names[0]
        suggestions.settings.setdefault("encoding", {})[key] = encoding
        suggestions.questions.append(
            f"is {key} written in {encoding}? It is not UTF-8, and would read "
            f"{guesses[names[0]][1]!r}"
        )
    encodings = suggestions.settings.get("encoding")
    if not encodings:
        return source
    return source.with_settings(encoding={**source.settings.encoding, **encodings})


def _preview(source: Source, name: str, suggestions: Suggestions) -> Preview:
    """The first rows of a file; none, and the reason, if it cannot be read."""
    try:
        with as_source_errors(name):
            return source.preview(name, PREVIEW_ROWS)
    except SourceError as error:
        suggestions.unreadable[name] = str(error)
        return {}


def _suggest_interactions(
    source: Source, suggestions: Suggestions, kinds: Sequence[Sequence[GuessedFile]]
) -> None:
    """Settings for interactions: a mapping of columns, or a query where that does not suffice."""
    read = [_examine(source, suggestions, files) for files in kinds]
    if not any(kind.query.is_needed for kind in read):
        _suggest_kinds(
            suggestions,
            "interactions",
            [(kind.files, kind.columns) for kind in read],
            [kind.condition for kind in read],
        )
        return
    several = len(read) > 1
    selects = [kind.query.sql(kind.scan, kind.condition, formats=several) for kind in read]
    suggestions.settings.setdefault("queries", {})["interactions"] = " union all by name ".join(
        selects
    )
    for kind in read:
        own = Suggestions()
        suggest_values(own, "interactions", kind.columns, kind.files[0].preview)
        _merge(suggestions, own, "interactions", formats=not several)


def _merge(suggestions: Suggestions, own: Suggestions, table: str, formats: bool) -> None:
    """Adds the proposals for one kind of files to those of the table."""
    for setting in ("formats", "values") if formats else ("values",):
        for key, value in own.settings.get(setting, {}).get(table, {}).items():
            suggestions.add(setting, table, key, value)
    if events := own.settings.get("events"):
        suggestions.settings["events"] = events
    suggestions.questions += own.questions


def _examine(source: Source, suggestions: Suggestions, files: Sequence[GuessedFile]) -> Kind:
    """Finds out how the lines of files of one kind are read, and asks what is not certain."""
    preview, guessed = files[0].preview, dict(files[0].guess.columns)
    columns = {name: column for name, column in guessed.items() if name not in OTHER_COLUMNS}
    if "unit_price" in guessed and not {"amount", "quantity"} & {*guessed}:
        # Each event is one unit.
        columns["amount"] = guessed["amount"] = guessed.pop("unit_price")
    with connect_memory(source.limits) as db:
        relation = source.all_rows(db, [file.name for file in files])
        if relation:
            _ask_about_tax(db, relation, guessed, preview, suggestions)
            columns |= {name: guessed[name] for name in ("amount",) if name in guessed}
        orders = find_orders(db, relation, guessed) if relation else Orders()
        query = LineQuery(guessed, orders, preview, len(files) > 1 and bool(orders.by))
        condition = None
        if relation:
            condition = sold_condition(db, relation, query, suggestions)
            _ask_currency(db, relation, guessed, suggestions)
    suggestions.questions += query.questions()
    return Kind(files, columns, query, condition)


def _ask_about_tax(
    db: duckdb.DuckDBPyConnection,
    relation: str,
    columns: dict[str, str],
    preview: Preview,
    suggestions: Suggestions,
) -> None:
    """Asks which column is the amount, with or without tax; adds one where there is none."""
    taken = columns.get("amount") or columns.get("unit_price")
    pair = find_tax_columns(tuple(preview), taken)
    if pair is None:
        return
    questions = ask_about_tax(db, relation, pair, taken or pair.gross, preview)
    if questions and taken is None:
        is_price = "quantity" in columns and names_price(pair.gross)
        columns["unit_price" if is_price else "amount"] = pair.gross
    suggestions.questions += questions


def _ask_currency(
    db: duckdb.DuckDBPyConnection,
    relation: str,
    columns: Mapping[str, str],
    suggestions: Suggestions,
) -> None:
    """Asks what to do where amounts are in several currencies, and no column has their rates."""
    if (column := columns.get("currency")) and "exchange_rate" not in columns:
        counts = db.execute(
            f"select {quote_identifier(column)}::VARCHAR, count(*) from {relation} "
            f"where {quote_identifier(column)} is not null group by 1 order by 2 desc, 1"
        ).fetchall()
        if len(counts) > 1:
            found = ", ".join(f"{name} ({rows:,} rows)" for name, rows in counts)
            suggestions.questions.append(
                f"amounts are in several currencies, {found}, and would be added as if they were "
                f"one: convert them in source.queries, or keep one, such as where "
                f"{quote_identifier(column)} = {quote_literal(counts[0][0])}"
            )


def _suggest_kinds(
    suggestions: Suggestions,
    table: str,
    kinds: Sequence[tuple[Sequence[GuessedFile], Mapping[str, str]]],
    conditions: Sequence[str | None] = (),
) -> None:
    """Settings for a table: of its files, or an entry for each kind of them."""
    wheres = conditions or [None] * len(kinds)
    if len(kinds) == 1:
        [(files, columns)], [condition] = kinds, wheres
        suggestions.settings.setdefault("files", {})[table] = pattern_of([f.name for f in files])
        suggestions.settings.setdefault("columns", {})[table] = dict(columns)
        if condition:
            suggestions.settings.setdefault("where", {})[table] = condition
        suggest_values(suggestions, table, columns, files[0].preview)
        return
    entries = []
    for (files, columns), condition in zip(kinds, wheres, strict=True):
        own = Suggestions()
        suggest_values(own, table, columns, files[0].preview)
        entry: dict[str, object] = {
            "pattern": pattern_of([file.name for file in files]),
            "columns": dict(columns),
        }
        for setting in ("formats", "values"):
            if value := own.settings.get(setting, {}).get(table):
                entry[setting] = value
        if condition:
            entry["where"] = condition
        entries.append(entry)
        own.settings = {name: own.settings[name] for name in ("events",) if name in own.settings}
        _merge(suggestions, own, table, formats=False)
    suggestions.settings.setdefault("files", {})[table] = entries
