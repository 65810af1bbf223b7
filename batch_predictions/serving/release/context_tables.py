"""What a release has beside predictions: the newest items of users, and quotes of reviews.

They are computed from raw rows when a release is published, and exist in no warehouse: a draft file
is hashed, counted and copied like a partition of a published table, and then removed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.serving.release.pointer import ReleaseError
from batch_predictions.serving.release.release_contents import (
    ReleaseContents,
    ReleasePartition,
    draft_partition,
)
from batch_predictions.settings import Settings
from batch_predictions.sources import registry
from batch_predictions.sources.event_types import RETURN
from batch_predictions.tables import INTERACTIONS, ITEM_SENTIMENTS, Table
from batch_predictions.tables.releases import CONTEXT_TABLES, REVIEW_QUOTES, USER_HISTORY
from batch_predictions.warehouse import Warehouse, scratch_dir

QUOTE_CHARACTERS = 280
GROUP_ROWS = 100_000
"""Rows of a row group of a draft."""

MAX_EVENT_TYPES = 126
"""Bits of an integer of DuckDB's, of which each is a type in the query."""

_HISTORY = """
    select user_id, row_number() over newest as position, item_id, last_on, events,
        list_filter(
            $event_types::VARCHAR[], lambda name, n: types & (1::HUGEINT << (n - 1)) > 0
        ) as event_types
    from (
        select user_id, item_id, max(date) as last_on, max(occurred_at) as last_at,
            count(*) as events,
            -- Bits cost less than a list of types of every item.
            bit_or(1::HUGEINT << (list_position(
                $event_types::VARCHAR[],
                case when quantity < 0 then $return_type else event_type end
            ) - 1)) as types
        from raw.interactions
        where date between $first::DATE and $day::DATE
            and list_contains($event_types::VARCHAR[], event_type)
        group by user_id, item_id
    )
    window newest as (
        partition by user_id order by last_on desc, last_at desc nulls last, events desc, item_id
    )
    qualify position <= $items
    order by user_id, position
"""
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
    """What a release has beside predictions; by default nothing.

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
        """What the settings say; events count that recommenders read, and returns."""
        serving = settings.serving
        quotes: dict[bool | None, Literal["none", "simulated", "all"]]
        quotes = {None: "simulated", True: "all", False: "none"}
        types = registry.event_types(settings).weighted
        return cls(
            serving.history_items,
            serving.history_days,
            tuple(dict.fromkeys((*types, RETURN))),
            quotes[serving.quotes],
        )


@contextmanager
def draft_context(
    warehouse: Warehouse, contents: ReleaseContents, choice: ContextChoice
) -> Iterator[tuple[ReleasePartition, ...]]:
    """Drafts of the chosen tables, which exist within the context. Equal rows give equal files.

    Raises:
        ReleaseError: a published table has the name of one of them, or there are too many types
            of events.
    """
    taken = {p.table.name for p in contents.published} & {table.name for table in CONTEXT_TABLES}
    if taken:
        raise ReleaseError(
            f"a published table cannot be named {', '.join(sorted(taken))}: releases have a table "
            "of that name themselves; rename it"
        )
    queries = list(_queries(warehouse, contents, choice))
    with scratch_dir(warehouse.folder) as scratch:
        drafts = []
        for table, key, query, bound in queries:
            path = scratch / f"{table.name}.parquet"
            _write(warehouse, query, bound, path)
            drafts.append(draft_partition(table, key, path))
        yield tuple(drafts)


def _write(warehouse: Warehouse, query: str, bound: dict[str, Any], path: Path) -> None:
    """Writes the rows of a query to a file whose bytes depend on the rows alone.

    Those of DuckDB's own files also depend on the statistics of the files that it has read, and
    those of Arrow's on where batches end.
    """
    with (
        warehouse.stream(query, bound) as batches,
        pq.ParquetWriter(path, batches.schema, compression="zstd") as writer,
    ):
        for rows in _equal_groups(batches):
            writer.write_table(rows)


def _equal_groups(batches: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """The rows in groups of GROUP_ROWS; only the last one is smaller."""
    held = batches.schema.empty_table()
    for batch in batches:
        held = pa.concat_tables([held, pa.Table.from_batches([batch])])
        while held.num_rows >= GROUP_ROWS:
            yield held.slice(0, GROUP_ROWS).combine_chunks()
            held = held.slice(GROUP_ROWS)
    if held.num_rows:
        yield held.combine_chunks()


def _queries(
    warehouse: Warehouse, contents: ReleaseContents, choice: ContextChoice
) -> Iterator[tuple[Table, str, str, dict[str, Any]]]:
    """Tables with their partition, query and parameters."""
    day = contents.as_of
    if choice.history_items and any(
        k <= day.isoformat() for k in warehouse.partitions(INTERACTIONS)
    ):
        first = day - dt.timedelta(days=choice.history_days - 1)
        types = sorted({*choice.event_types, RETURN})
        if len(types) > MAX_EVENT_TYPES:
            raise ReleaseError(
                f"histories cannot have {len(types)} types of events, at most {MAX_EVENT_TYPES}: "
                "put values of the source together in source.events, or set serving.history_items "
                "to 0"
            )
        bound = {
            "items": choice.history_items,
            "first": first.isoformat(),
            "day": day.isoformat(),
            "event_types": types,
            "return_type": RETURN,
        }
        yield USER_HISTORY, day.isoformat(), _HISTORY, bound
    week = next((p.key for p in contents.published if p.table.name == ITEM_SENTIMENTS.name), None)
    if choice.quotes != "none" and week is not None:
        yield REVIEW_QUOTES, week, _QUOTES, {"week": week, "all": choice.quotes == "all"}
