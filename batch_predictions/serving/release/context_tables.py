"""Tables of a release beside predictions: the newest items of users, and quotes of reviews.

They are computed from raw rows when a release is published, and exist in no warehouse: a draft file
is hashed, counted and copied like a partition of a published table, and then removed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.serving.release import draft_records
from batch_predictions.serving.release.user_histories import SCHEMA as HISTORY_SCHEMA
from batch_predictions.serving.release.user_histories import VERSION as HISTORY_VERSION
from batch_predictions.serving.release.user_histories import HistoryQuery
from batch_predictions.serving.store.pointer import ReleaseError
from batch_predictions.serving.store.release_contents import (
    ReleaseContents,
    ReleasePartition,
    draft_partition,
)
from batch_predictions.settings import Settings
from batch_predictions.sources import source_registry
from batch_predictions.sources.validation.event_types import RETURN
from batch_predictions.tables import (
    INTERACTIONS,
    ITEM_SENTIMENTS,
    REVIEW_SENTIMENTS,
    REVIEWS,
    Table,
)
from batch_predictions.tables.release_tables import CONTEXT_TABLES, REVIEW_QUOTES, USER_HISTORY
from batch_predictions.warehouse import Warehouse, scratch_dir

QUOTE_CHARACTERS = 280
GROUP_ROWS = 100_000
"""Rows of a row group of a draft."""

MAX_EVENT_TYPES = 126
"""Bits of an integer of DuckDB's, of which each is a type in the query of histories."""

_MASKS = (
    r"(https?://|www\.)\S+",  # addresses of pages
    r"[\w.+-]+@[\w-]+(\.[\w-]+)+",  # of mail
    r"@\w{2,}",  # of accounts
    r"\+?\d[\d ()/.-]{5,}\d",  # numbers of phones, orders, cards
)
_MASKED = "…"


def _quote_sql(text: str) -> str:
    """SQL of a quote: one line, masked, cut at the end of a word. Patterns have no quotes."""
    quote = rf"trim(regexp_replace(replace({text}, chr(0), ''), '\s+', ' ', 'g'))"
    for mask in _MASKS:
        quote = f"regexp_replace({quote}, '{mask}', '{_MASKED}', 'g')"
    room = QUOTE_CHARACTERS - len(_MASKED)
    cut = f"regexp_replace(left(quote, {room + 1}), '\\s+\\S*$', '')"
    return (
        f"(select case when length(quote) <= {QUOTE_CHARACTERS} then quote "
        f"else left({cut}, {room}) || '{_MASKED}' end from (select {quote} as quote))"
    )


_QUOTES = f"""
    select e.item_id, e.review_id, {_quote_sql("r.text")} as text, r.rating, s.sentiment,
        r.date as written_on, coalesce(r.simulated, false) as simulated, r.user_id
    from (
        select distinct item_id, unnest(example_review_ids) as review_id
        from predictions.item_sentiments where week = $week::DATE
    ) as e
    join raw.reviews as r on r.review_id = e.review_id and r.item_id = e.item_id
        and r.date between $week::DATE and $week::DATE + 6
    left join (from predictions.review_sentiments where week = $week::DATE) as s
        on s.review_id = e.review_id
    where trim(coalesce(r.text, '')) <> '' and ($all or r.simulated)
    qualify row_number() over (partition by e.item_id, e.review_id order by r.date desc) = 1
    order by e.item_id, e.review_id
"""


@dataclass(frozen=True)
class ContextChoice:
    """The context tables that a release has beside predictions; by default none.

    Attributes:
        history_items: newest items of a user; 0: no histories.
        history_days: days that are read for them, the release's own included.
        event_types: types of the events that count.
        quotes: of which reviews texts are published.
    """

    history_items: int = 0
    history_days: int = 90
    event_types: tuple[str, ...] = ()
    quotes: Literal["none", "simulated", "all"] = "none"

    @classmethod
    def of(cls, settings: Settings) -> ContextChoice:
        """Reads the choice from the settings; types count that recommenders read, and returns."""
        serving = settings.serving
        quotes: dict[bool | None, Literal["none", "simulated", "all"]]
        quotes = {None: "simulated", True: "all", False: "none"}
        types = source_registry.event_types(settings).weighted
        return cls(
            serving.history_items,
            serving.history_days,
            tuple(dict.fromkeys((*types, RETURN))),
            quotes[serving.quotes],
        )


@dataclass(frozen=True)
class _Draft:
    """A table that is to be computed.

    Attributes:
        table: the table.
        key: its partition.
        inputs: partitions of the warehouse that its rows are made of, by table.
        recipe: how they are made: equal inputs and recipes give equal rows.
        write: writes its rows to a file.
    """

    table: Table
    key: str
    inputs: Mapping[Table, Sequence[str]]
    recipe: str
    write: Callable[[Path], None]


def known_context(
    warehouse: Warehouse, contents: ReleaseContents, choice: ContextChoice
) -> tuple[ReleasePartition, ...] | None:
    """Looks the chosen tables up among earlier drafts, without writing files.

    None if they have not been made of the partitions as they are now.

    Args:
        warehouse: of the home.
        contents: the partitions of the release.
        choice: the context tables that are wanted.

    Raises:
        ReleaseError: as `draft_context`.
    """
    known = []
    for draft in _drafts(warehouse, contents, choice):
        entry = draft_records.find(warehouse, _fingerprint(warehouse, draft))
        if entry is None:
            return None
        path = Path(f"{draft.table.name}.parquet")
        known.append(
            ReleasePartition(
                draft.table, draft.key, entry.rows, {path: entry.sha256}, (), draft=path
            )
        )
    return tuple(known)


@contextmanager
def draft_context(
    warehouse: Warehouse, contents: ReleaseContents, choice: ContextChoice
) -> Iterator[tuple[ReleasePartition, ...]]:
    """Writes drafts of the chosen tables for the block; equal rows give equal files.

    Args:
        warehouse: of the home.
        contents: the partitions of the release.
        choice: the context tables that are wanted.

    Raises:
        ReleaseError: a published table has the name of one of them, or there are too many types
            of events.
    """
    drafts = list(_drafts(warehouse, contents, choice))
    with scratch_dir(warehouse.folder) as scratch:
        made = []
        for draft in drafts:
            path = scratch / f"{draft.table.name}.parquet"
            fingerprint = _fingerprint(warehouse, draft)
            draft.write(path)
            partition = draft_partition(draft.table, draft.key, path)
            # Inputs that were replaced meanwhile are not those that the record would name.
            if _fingerprint(warehouse, draft) == fingerprint:
                record = draft_records.DraftRecord(partition.rows, partition.files[path])
                draft_records.remember(warehouse, fingerprint, record)
            made.append(partition)
        yield tuple(made)


def _fingerprint(warehouse: Warehouse, draft: _Draft) -> str:
    """SHA-256 of all that the rows of a draft depend on."""
    hashes = {
        table.qualified: warehouse.digests(table).of_partitions(keys)
        for table, keys in draft.inputs.items()
    }
    content = [draft.table.qualified, draft.key, draft.recipe, hashes]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> None:
    """Writes rows to a file whose bytes depend on the rows alone.

    Those of DuckDB's own files also depend on the statistics of the files that it has read, and
    those of Arrow's on where batches end.
    """
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in _equal_groups(batches, schema):
            writer.write_table(rows)


def _equal_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows in groups of GROUP_ROWS; only the last one is smaller."""
    held = schema.empty_table()
    for batch in batches:
        held = pa.concat_tables([held, pa.Table.from_batches([batch])])
        while held.num_rows >= GROUP_ROWS:
            yield held.slice(0, GROUP_ROWS).combine_chunks()
            held = held.slice(GROUP_ROWS)
    if held.num_rows:
        yield held.combine_chunks()


def _drafts(
    warehouse: Warehouse, contents: ReleaseContents, choice: ContextChoice
) -> Iterator[_Draft]:
    """The tables that are chosen, and that there are rows for."""
    taken = {p.table.name for p in contents.published} & {table.name for table in CONTEXT_TABLES}
    if taken:
        raise ReleaseError(
            f"a published table cannot be named {', '.join(sorted(taken))}: releases have a table "
            "of that name themselves; rename it"
        )
    day = contents.as_of
    if choice.history_items and any(
        k <= day.isoformat() for k in warehouse.partitions(INTERACTIONS)
    ):
        yield _history_draft(warehouse, day, choice)
    week = next((p.key for p in contents.published if p.table.name == ITEM_SENTIMENTS.name), None)
    if choice.quotes != "none" and week is not None:
        yield _quote_draft(warehouse, week, choice.quotes == "all")


def _history_draft(warehouse: Warehouse, day: dt.date, choice: ContextChoice) -> _Draft:
    types = sorted({*choice.event_types, RETURN})
    if len(types) > MAX_EVENT_TYPES:
        raise ReleaseError(
            f"histories cannot have {len(types)} types of events, at most {MAX_EVENT_TYPES}: "
            "put values of the source together in source.events, or set serving.history_items "
            "to 0"
        )
    first = day - dt.timedelta(days=choice.history_days - 1)
    query = HistoryQuery(choice.history_items, first, day, tuple(types))
    return _Draft(
        USER_HISTORY,
        day.isoformat(),
        {INTERACTIONS: query.days(warehouse)},
        f"{HISTORY_VERSION} {query}",
        lambda path: _write(query.batches(warehouse), HISTORY_SCHEMA, path),
    )


def _quote_draft(warehouse: Warehouse, week: str, of_all: bool) -> _Draft:
    bound = {"week": week, "all": of_all}

    def write(path: Path) -> None:
        with warehouse.stream(_QUOTES, bound) as batches:
            _write(batches, batches.schema, path)

    days = [(dt.date.fromisoformat(week) + dt.timedelta(days=n)).isoformat() for n in range(7)]
    inputs = {REVIEWS: days, ITEM_SENTIMENTS: [week], REVIEW_SENTIMENTS: [week]}
    return _Draft(REVIEW_QUOTES, week, inputs, f"{of_all} {_QUOTES}", write)
