"""Measures accepted rows: event types, known users and items, ranges, languages."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import duckdb

from batch_predictions.sources.item_exclusions import attribute_names
from batch_predictions.sources.validation.event_types import RETURN, EventTypes

DetectLanguages = Callable[[Sequence[str]], Sequence[str | None]]
"""ISO 639-1 code of each text's language; None where it is not known."""

Role = Literal["target", "weighted", "return", "not read"]

MAX_TYPES = 20
MIN_UNIT_PRICE_LINES = 20
MIN_KNOWN_IDS = 0.0005
"""Share of ids below which two tables have none in common: 0.0 %."""
UNIT_PRICE_SHARE = 0.8
"""Share of lines of several units whose amount is the item's price: then it is a unit price."""


@dataclass(frozen=True)
class EventTypeFinding:
    """Interactions of one type.

    Attributes:
        name: as raw.interactions has it.
        rows: how many.
        share: of all interactions.
        role: what the platform does with them.
        weight: in a user's taste.
        first_day: with such a row.
        last_day: with such a row.
        by_day: rows by ISO date.
    """

    name: str
    rows: int
    share: float
    role: Role
    weight: float
    first_day: dt.date
    last_day: dt.date
    by_day: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ReferenceFinding:
    """Ids of interactions or reviews that another table should have.

    Attributes:
        column: user_id or item_id.
        table: the table with the ids.
        other: users or items.
        ids: distinct ids.
        known: those that the other table has.
        known_ignoring_case: those that it has if case does not count.
        examples: up to three that it does not have.
        other_examples: up to three ids of the other table, if it has none of them.
        candidate: the attribute of the other table with the most of them, if its ids are none.
        in_candidate: how many of them that attribute has.
    """

    column: str
    table: str
    other: str
    ids: int
    known: int
    known_ignoring_case: int
    examples: list[str]
    other_examples: list[str] = field(default_factory=list)
    candidate: str | None = None
    in_candidate: int = 0


@dataclass(frozen=True)
class RangeFinding:
    """The values of a number.

    Attributes:
        column: of interactions.
        minimum, median, maximum: None if all are missing.
        missing: share of the rows without a value.
        negative: share of the rows with a value below 0.
    """

    column: str
    minimum: float | None
    median: float | None
    maximum: float | None
    missing: float
    negative: float


@dataclass(frozen=True)
class LanguageFinding:
    """Reviews of one language; None: not known.

    Attributes:
        language: ISO 639-1 code.
        reviews: how many.
        labelled: those with a rating or a label.
    """

    language: str | None
    reviews: int
    labelled: int


@dataclass(frozen=True)
class Findings:
    """Everything that was measured.

    Attributes:
        event_types: of interactions, the most frequent first.
        references: of interactions and reviews to users and items.
        ranges: of quantity and amount.
        returns: share of interactions that are returns.
        unit_prices: share of lines of several units whose amount is the item's price; None: too few
            to say.
        languages: of reviews, the most frequent first.
        demographics: by trait, the share of users that have it.
        item_attributes: names of the attributes of items.
    """

    event_types: list[EventTypeFinding] = field(default_factory=list)
    references: list[ReferenceFinding] = field(default_factory=list)
    ranges: list[RangeFinding] = field(default_factory=list)
    returns: float = 0.0
    unit_prices: float | None = None
    languages: list[LanguageFinding] = field(default_factory=list)
    demographics: dict[str, float] = field(default_factory=dict)
    item_attributes: list[str] = field(default_factory=list)


def measure(
    db: duckdb.DuckDBPyConnection,
    tables: Collection[str],
    event_types: EventTypes,
    detect_languages: DetectLanguages | None = None,
) -> Findings:
    """Measures the accepted rows.

    Args:
        db: with a temporary table `accepted_<name>` for each table.
        tables: their names.
        event_types: of the source.
        detect_languages: detects the language of texts; None: only declared languages count.
    """
    has_interactions = "interactions" in tables
    return Findings(
        event_types=_event_types(db, event_types) if has_interactions else [],
        references=_references(db, tables),
        ranges=[_range(db, name) for name in ("quantity", "amount")] if has_interactions else [],
        returns=_returns(db) if has_interactions else 0.0,
        unit_prices=_unit_prices(db) if {"interactions", "items"} <= {*tables} else None,
        languages=_languages(db, detect_languages) if "reviews" in tables else [],
        demographics=_demographics(db) if "users" in tables else {},
        item_attributes=attribute_names(db, "accepted_items") if "items" in tables else [],
    )


def _event_types(db: duckdb.DuckDBPyConnection, event_types: EventTypes) -> list[EventTypeFinding]:
    rows = db.execute(
        "select event_type, count(*), count(*) / sum(count(*)) over (), min(date), max(date) "
        "from accepted_interactions group by 1 order by 2 desc, 1 limit $limit",
        {"limit": MAX_TYPES},
    ).fetchall()
    by_day: dict[str, dict[str, int]] = {}
    for name, day, count in db.execute(
        "select event_type, date::VARCHAR, count(*) from accepted_interactions "
        "group by all order by all"
    ).fetchall():
        by_day.setdefault(name, {})[day] = count
    return [
        EventTypeFinding(
            name,
            count,
            share,
            _role(name, event_types),
            event_types.weighted.get(name, 0.0),
            first,
            last,
            by_day[name],
        )
        for name, count, share, first, last in rows
    ]


def _role(name: str, event_types: EventTypes) -> Role:
    if name == RETURN and name in event_types.types:
        return "return"
    if name in event_types.targets:
        return "target"
    return "weighted" if name in event_types.weighted else "not read"


def _references(db: duckdb.DuckDBPyConnection, tables: Collection[str]) -> list[ReferenceFinding]:
    findings = []
    for column, table, other in (
        ("user_id", "interactions", "users"),
        ("item_id", "interactions", "items"),
        ("item_id", "reviews", "items"),
    ):
        if not {table, other} <= {*tables}:
            continue
        row = db.execute(
            f"with ids as (select distinct {column} as id from accepted_{table} "
            f"where {column} is not null), "
            f"known as (select distinct {column} as id from accepted_{other}), "
            "folded as (select distinct lower(id) as id from known) "
            "select count(*), count(known.id), count(folded.id), "
            "list(ids.id order by ids.id) filter (known.id is null) "
            "from ids left join known on known.id = ids.id "
            "left join folded on folded.id = lower(ids.id)"
        ).fetchall()[0]
        ids, known, folded, unknown = row
        finding = ReferenceFinding(column, table, other, ids, known, folded, (unknown or [])[:3])
        is_apart = folded < MIN_KNOWN_IDS * ids
        findings.append(_with_candidate(db, finding) if is_apart else finding)
    return findings


def _with_candidate(db: duckdb.DuckDBPyConnection, finding: ReferenceFinding) -> ReferenceFinding:
    """Adds ids of the other table, and its attribute that has the most of those that it lacks."""
    column, table, other = finding.column, finding.table, finding.other
    examples = db.execute(f"select {column} from accepted_{other} order by 1 limit 3").fetchall()
    best = db.execute(
        "select entry.key, count(distinct entry.value) as n from "
        f"(select unnest(map_entries(attributes)) as entry from accepted_{other}) "
        f"where entry.value in (select {column} from accepted_{table}) "
        "group by 1 order by n desc, 1 limit 1"
    ).fetchone()
    candidate, in_candidate = best or (None, 0)
    return replace(
        finding,
        other_examples=[row[0] for row in examples],
        candidate=candidate,
        in_candidate=in_candidate,
    )


def _range(db: duckdb.DuckDBPyConnection, column: str) -> RangeFinding:
    minimum, median, maximum, missing, negative = db.execute(
        f"select min({column}), median({column}), max({column}), "
        f"coalesce(avg(({column} is null)::INTEGER), 0), "
        f"coalesce(avg(coalesce({column} < 0, false)::INTEGER), 0) from accepted_interactions"
    ).fetchall()[0]
    return RangeFinding(column, minimum, median, maximum, missing, negative)


def _returns(db: duckdb.DuckDBPyConnection) -> float:
    [(share,)] = db.execute(
        "select coalesce(avg((event_type = $name or coalesce(quantity < 0, false))::INTEGER), 0) "
        "from accepted_interactions",
        {"name": RETURN},
    ).fetchall()
    return float(share)


def _unit_prices(db: duckdb.DuckDBPyConnection) -> float | None:
    [(lines, share)] = db.execute(
        "select count(*), avg((abs(events.amount - items.price) < 0.005)::INTEGER) "
        "from accepted_interactions as events join accepted_items as items "
        "on items.item_id = events.item_id "
        "where events.quantity >= 2 and events.amount > 0 and items.price > 0"
    ).fetchall()
    return float(share) if lines >= MIN_UNIT_PRICE_LINES else None


def _languages(
    db: duckdb.DuckDBPyConnection, detect_languages: DetectLanguages | None
) -> list[LanguageFinding]:
    rows = db.execute(
        "select text, lower(split_part(replace(trim(language), '_', '-'), '-', 1)), "
        "rating is not null or label is not null from accepted_reviews"
    ).fetchall()
    detected: Sequence[str | None] = [None] * len(rows)
    if detect_languages is not None:
        detected = detect_languages([text for text, *_ in rows])
    reviews: Counter[str | None] = Counter()
    labelled: Counter[str | None] = Counter()
    for (_, declared, has_label), detected_language in zip(rows, detected, strict=True):
        language = declared or detected_language
        reviews[language] += 1
        labelled[language] += bool(has_label)
    order = sorted(reviews, key=lambda name: (-reviews[name], str(name)))
    return [LanguageFinding(name, reviews[name], labelled[name]) for name in order]


def _demographics(db: duckdb.DuckDBPyConnection) -> dict[str, float]:
    names = ("age_bracket", "gender", "location")
    shares = ", ".join(f"coalesce(avg(({name} is not null)::INTEGER), 0)" for name in names)
    [row] = db.execute(f"select {shares} from accepted_users").fetchall()
    return dict(zip(names, row, strict=True))
