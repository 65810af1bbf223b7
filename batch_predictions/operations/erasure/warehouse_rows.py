"""Removes users from the partitions of the warehouse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from batch_predictions.core.erasures import REASON, ErasedUsers
from batch_predictions.inference.base import BatchPrediction
from batch_predictions.sources.base import INGESTED_TABLES
from batch_predictions.sources.rows.ingest_log import read_ingest_log, update_ingest_log
from batch_predictions.sources.validation.erased_rows import mentions
from batch_predictions.tables import (
    EXCLUSIONS,
    ITEM_SENTIMENTS,
    QUARANTINE,
    REVIEWS,
    TABLES,
    USER_ALIASES,
    Table,
    user_columns,
)
from batch_predictions.tables.discovery import instances
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.path_sql import quote_identifier, quote_literal


@dataclass(frozen=True)
class TableErasure:
    """The rows and columns that an erasure removes from, or changes in, one table.

    Attributes:
        table: the table.
        condition: SQL that is true for the rows that are removed, or changed.
        columns: SQL of the columns that change in the rows that stay, by name.
        removes: whether the rows of the condition are removed.
    """

    table: Table
    condition: str
    columns: Mapping[str, str]
    removes: bool = True


def erase_derived_rows(warehouse: Warehouse, users: ErasedUsers, reviews: Sequence[str]) -> int:
    """Removes users from features, tiles, predictions and evaluation. Returns the files changed.

    Raw rows come last (`erase_raw_rows`): they say which reviews are a user's, also after a crash.

    Args:
        warehouse: of the home.
        users: who is erased.
        reviews: ids of their reviews.
    """
    return _erase_tables(warehouse, users, reviews, is_raw=False)


def erase_raw_rows(
    warehouse: Warehouse, users: ErasedUsers, normalise: Callable[[str], str]
) -> int:
    """Removes users from raw tables and the quarantine. Returns the number of files changed.

    The log of ingests counts the removed rows as refused, as the next ingest of them would.

    Args:
        warehouse: of the home.
        users: who is erased.
        normalise: writes ids as raw tables have them.
    """
    changed = _erase_quarantine(warehouse, users, normalise)
    _erase_aliases(Path(warehouse.home), users)
    return changed + _erase_tables(warehouse, users, [], is_raw=True)


def ids_of_merged_users(warehouse: Warehouse, users: ErasedUsers) -> list[str]:
    """All ids of users that were merged: the present ones, and those before merges."""
    aliases = USER_ALIASES.qualified
    rows = warehouse.query(
        f"with present as (select distinct user_id from {aliases} where "
        f"{users.condition('alias')} or {users.condition('user_id')}) select user_id from present "
        f"union select alias from {aliases} semi join present using (user_id) order by 1"
    )
    ids: list[str] = rows["user_id"].to_pylist()
    return ids


def reviews_of(warehouse: Warehouse, users: ErasedUsers) -> list[str]:
    """Ids of the reviews that users have written."""
    query = f"select review_id from {REVIEWS.qualified} where {users.condition('user_id')}"
    reviews: list[str] = warehouse.query(query)["review_id"].to_pylist()
    return sorted(set(reviews))


def _erase_tables(
    warehouse: Warehouse, users: ErasedUsers, reviews: Sequence[str], *, is_raw: bool
) -> int:
    """Removes users from all declared tables, raw ones or others."""
    changed = 0
    for table in list(TABLES.values()):
        erasure = _erasure_of(table, users, reviews)
        if erasure and (table.schema == "raw") == is_raw:
            _find_users(warehouse, table, users)
            changed += _erase(warehouse, erasure)
    return changed


def _find_users(warehouse: Warehouse, table: Table, users: ErasedUsers) -> None:
    """Notes which of the users have a row in a table, until all of them were found."""
    for column in user_columns(table) if users.found != users.hashes else ():
        ids = warehouse.query(
            f"select distinct {column} from {table.qualified} where {users.condition(column)}"
        )
        for user_id in ids[column].to_pylist():
            users.matches(user_id)


def _erasure_of(table: Table, users: ErasedUsers, reviews: Sequence[str]) -> TableErasure | None:
    """Decides how users are removed from a table; None if it has no rows of users."""
    names = {column.name for column in table.columns}
    review_list = f"[{', '.join(map(quote_literal, reviews))}]::VARCHAR[]"
    if table == ITEM_SENTIMENTS:
        shown = f"list_has_any(example_review_ids, {review_list})"
        kept = f"list_filter(example_review_ids, lambda r: not list_contains({review_list}, r))"
        return TableErasure(table, shown, {"example_review_ids": kept}, removes=False)
    if table == EXCLUSIONS:
        return TableErasure(table, _exclusions_condition(users, review_list), {})
    if columns := user_columns(table):
        condition = " or ".join(map(users.condition, columns))
        return TableErasure(table, condition, _ranks_again(table))
    if "review_id" in names and reviews:
        return TableErasure(table, f"list_contains({review_list}, review_id)", {})
    return None


def _exclusions_condition(users: ErasedUsers, review_list: str) -> str:
    """SQL for the keys without a prediction that have the id of a user or of a review.

    A key is that of the prediction's declaration; a value of a key of other columns may be equal to
    the id of a user and mean an item: it stays.
    """
    conditions = []
    for prediction in instances(BatchPrediction, "predictions/*.py"):
        name = quote_literal(prediction.table.name)
        for number, column in enumerate(prediction.key):
            value = _value_of_key(number) if len(prediction.key) > 1 else "key"
            if column == "user_id":
                conditions.append(f"(table_name = {name} and {users.condition(value)})")
            elif column == "review_id":
                is_review = f"list_contains({review_list}, {value})"
                conditions.append(f"(table_name = {name} and {is_review})")
    return f"({' or '.join(conditions) or 'false'})"


def _value_of_key(number: int) -> str:
    """SQL of a value of a key of several columns, as `joined_key` writes it."""
    marked = r"replace(replace(key, '\\', chr(2)), '\|', chr(1))"
    value = f"string_split({marked}, '|')[{number + 1}]"
    return rf"replace(replace({value}, chr(1), '|'), chr(2), '\')"


def _ranks_again(table: Table) -> dict[str, str]:
    """Ranks over users, such as those of an audience, are counted again without gaps."""
    if "rank" not in table.key or "user_id" in table.key:
        return {}
    group = [name for name in table.key if name != "rank"]
    by = f"partition by {', '.join(map(quote_identifier, group))} " if group else ""
    return {"rank": f"(row_number() over ({by}order by rank))::{table.type_of('rank')}"}


def _erase(warehouse: Warehouse, erasure: TableErasure) -> int:
    """Rewrites the partitions that have rows of the condition. Returns their number."""
    table, changed = erasure.table, 0
    for values, rows in _affected(warehouse, erasure):
        key = values.get(table.partition or "")
        part = {name: values[name] for name in table.parts}
        in_file = " and ".join(
            f"{quote_identifier(name)} = {quote_literal(value)}::{table.type_of(name)}"
            for name, value in values.items()
        )
        stays = f"({erasure.condition}) is not true" if erasure.removes else "true"
        replaced = [f"{sql} as {quote_identifier(name)}" for name, sql in erasure.columns.items()]
        columns = f"* replace ({', '.join(replaced)})" if replaced else "*"
        query = f"select {columns} from {table.qualified} where {in_file or 'true'} and {stays}"
        # Without its fingerprint, a tile is made again.
        warehouse.replace_partition(table, key, query, part=part or None)
        changed += 1
        if erasure.removes and table.schema == "raw":
            _count_as_refused(warehouse, table, key, rows)
    return changed


def _affected(warehouse: Warehouse, erasure: TableErasure) -> Iterator[tuple[dict[str, str], int]]:
    """Values of the folders of the files with rows of the condition, and the number of rows."""
    table = erasure.table
    names = [*map(quote_identifier, table.folders)]
    columns = ", ".join([*(f"{n}::VARCHAR as {n}" for n in names), "count(*)::BIGINT as n_rows"])
    query = (
        f"select {columns} from {table.qualified} where {erasure.condition} "
        f"group by {', '.join(names) or '()'} order by all"
    )
    for row in warehouse.query(query).to_pylist():
        rows = row.pop("n_rows")
        if rows:
            yield row, rows


def _erase_aliases(home: Path, users: ErasedUsers) -> None:
    """Removes users from the aliases by which raw tables were ingested."""
    for table in INGESTED_TABLES:
        if read_ingest_log(home, table).aliases:
            with update_ingest_log(home, table) as log:
                log.aliases = {
                    alias: user_id
                    for alias, user_id in log.aliases.items()
                    if not (users.matches(alias) or users.matches(user_id))
                }


def _count_as_refused(warehouse: Warehouse, table: Table, key: str | None, rows: int) -> None:
    home = Path(warehouse.home)
    day = key or read_ingest_log(home, table).as_of
    if day is None:
        return
    warehouse.replace_partition(
        QUARANTINE,
        day,
        f"select * from {QUARANTINE.qualified} "
        "where date = $day::DATE and table_name = $table_name union all by name "
        "select $day::DATE as date, $table_name as table_name, null::VARCHAR as source, "
        "null::BIGINT as row_number, $reason as reason, '{}'::JSON as row "
        "from range($rows::BIGINT)",
        {"day": day, "table_name": table.name, "reason": REASON, "rows": rows},
        part={"table_name": table.name},
    )
    with update_ingest_log(home, table) as log:
        entry = log.days.get(day)
        if entry is not None:
            removed = min(rows, entry.accepted)
            counts = {
                "accepted": entry.accepted - removed,
                "quarantined": entry.quarantined + removed,
            }
            log.days[day] = entry.model_copy(update=counts)


def _erase_quarantine(
    warehouse: Warehouse, users: ErasedUsers, normalise: Callable[[str], str]
) -> int:
    """Empties refused rows that have the id of a user. Returns the number of files changed."""
    query = (
        "select distinct date::VARCHAR as date, table_name, source, row_number, reason, "
        f"row::VARCHAR as row from {QUARANTINE.qualified} where row::VARCHAR <> '{{}}'"
    )
    # A number in a refused row may be equal to an id that no user has.
    users = ErasedUsers(users.salt, users.hashes)
    affected: dict[tuple[str, str], list[dict[str, object]]] = {}
    for refused in warehouse.query(query).to_pylist():
        if mentions(users, refused["reason"] or "", refused["row"], normalise):
            affected.setdefault((refused["date"], refused["table_name"]), []).append(refused)
    for (day, table_name), refused_rows in affected.items():
        keys = json.dumps([[row["source"], row["row_number"]] for row in refused_rows])
        is_user = (
            "exists (select 1 from (select unnest(from_json($keys, '[\"JSON\"]')) as k) "
            "where k->>0 is not distinct from q.source "
            "and (k->>1)::BIGINT is not distinct from q.row_number)"
        )
        warehouse.replace_partition(
            QUARANTINE,
            day,
            "select date, table_name, source, row_number, "
            f"case when {is_user} then $reason else reason end as reason, "
            f"case when {is_user} then '{{}}'::JSON else row end as row "
            f"from {QUARANTINE.qualified} as q "
            "where date = $day::DATE and table_name = $table_name",
            {"keys": keys, "day": day, "table_name": table_name, "reason": REASON},
            part={"table_name": table_name},
        )
    return len(affected)
