"""Asks which of two columns is the amount, where one has amounts with tax and one without."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from typing import NamedTuple

import duckdb

from batch_predictions.sources.checking.file_guesses import normalise_name
from batch_predictions.sources.checking.suggestions import Preview
from batch_predictions.sources.checking.value_guesses import number_sql

_GROSS = ("gross", "brutto", "ttc", "lordo", "bruto", "brut", "incl", "including", "inkl")
_NET = ("net", "netto", "ht", "neto", "liquido", "excl", "excluding", "exkl")
_COMPOUNDED = ("brutto", "netto")
"""Words that are part of others, as in `bruttobetrag`."""
MAX_RATIO = 1.5
"""Amounts with tax are at most so many times those without."""
CONSISTENT_SHARE = 0.95
"""Share of rows in which the one is the other with tax."""


class TaxColumns(NamedTuple):
    """A column of amounts with tax, and one without."""

    gross: str
    net: str


def find_tax_columns(names: Collection[str], amount: str | None) -> TaxColumns | None:
    """Two columns of which one may have the amounts of the other with tax; None: there are none.

    Args:
        names: columns of the files.
        amount: the one that is taken as the amount or the price; None: there is none.
    """
    marked: dict[str, dict[str, str]] = {"gross": {}, "net": {}}
    for name in names:
        normal = normalise_name(name)
        for kind, words in (("gross", _GROSS), ("net", _NET)):
            word = next((w for w in words if w in normal.split("_")), None)
            word = word or next(
                (w for w in ("brutto", "netto") if w in words and w in normal), None
            )
            if word:
                marked[kind].setdefault(normal.replace(word, "").strip("_"), name)
    gross, net = marked["gross"], marked["net"]
    pairs = [TaxColumns(gross[rest], net[rest]) for rest in gross if rest in net]
    if amount is not None:
        pairs += [TaxColumns(amount, name) for name in net.values() if name != amount]
        pairs += [TaxColumns(name, amount) for name in gross.values() if name != amount]
        pairs = [pair for pair in pairs if amount in pair]
    return pairs[0] if pairs else None


def ask_about_tax(
    db: duckdb.DuckDBPyConnection,
    relation: str,
    columns: TaxColumns,
    taken: str | None,
    preview: Preview,
) -> list[str]:
    """Asks which of two columns is the amount, with their sums; none if they are not alike.

    Args:
        db: connection of the rows.
        relation: SQL of all rows of the files.
        columns: the two.
        taken: the one that is taken; None: none is.
        preview: texts of the first rows, by which formats are guessed.
    """
    gross, net = (number_sql(name, preview.get(name, ())) for name in columns)
    with suppress(duckdb.Error):
        [(with_tax, without, share)] = db.execute(
            "select sum(gross), sum(net), avg((gross / net between 1 and $ratio)::INTEGER) filter "
            f"(net <> 0) from (select {gross} as gross, {net} as net from {relation})",
            {"ratio": MAX_RATIO},
        ).fetchall()
        if share is not None and share >= CONSISTENT_SHARE and with_tax > without:
            return [
                f"which is amount, {columns.gross!r} (in all {with_tax:,.2f}) or {columns.net!r} "
                f"({without:,.2f})? {repr(taken) if taken else 'None'} is taken: set "
                "source.columns.interactions.amount to the one that your books have"
            ]
    return []
