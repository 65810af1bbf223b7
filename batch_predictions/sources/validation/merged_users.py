"""Gives rows of merged users their present ids, and refuses aliases that lead to no one user.

A home ingests by the aliases in raw.user_aliases. A source that is read without a home has its own.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from batch_predictions.sources.validation.checked_rows import ROW_JSON
from batch_predictions.tables import USER_ALIASES
from batch_predictions.warehouse.delta_tables import count_rows, local_file
from batch_predictions.warehouse.path_sql import quote_files, quote_literal

_OWN_ID = "is the user_id itself: remove the row"
_TWO_USERS = (
    "has several user_ids: keep the row with the present one; source.deduplicate: "
    "{user_aliases: {by: [alias]}} keeps the last one"
)
_CYCLE = "leads back to itself over other rows: remove the row that is wrong"


def _aliases_file(home: Path) -> Path | None:
    """The file of the aliases that a home has ingested; None: there are none."""
    path = home / "warehouse" / USER_ALIASES.schema / USER_ALIASES.name / "data.parquet"
    return local_file(path) if path.exists() and count_rows(path) else None


def aliases_sql(home: Path) -> str | None:
    """A query for the aliases that a home has ingested; None: there are none."""
    path = _aliases_file(home)
    if path is None:
        return None
    return f"select alias, user_id from read_parquet({quote_files([path])})"


def read_aliases(home: Path) -> dict[str, str]:
    """The present ids of a home's merged users by alias."""
    path = _aliases_file(home)
    if path is None:
        return {}
    rows = pq.read_table(path, columns=["alias", "user_id"])
    return dict(zip(rows["alias"].to_pylist(), rows["user_id"].to_pylist(), strict=True))


def with_present_users(rows: str, aliases: str | None) -> str:
    """A query for rows with a `user_id`, those of merged users under the present one.

    Args:
        rows: a query.
        aliases: table of the aliases; None: nobody was merged.
    """
    if aliases is None:
        return rows
    return (
        "select r.* replace (coalesce(m.user_id, r.user_id) as user_id) "
        f"from ({rows}) r left join {aliases} m on m.alias = r.user_id"
    )


def leave_out_merged_users(
    db: duckdb.DuckDBPyConnection, checked: str, aliases: str, *, keeps_first: bool
) -> int:
    """Removes checked rows of merged users that have another row; returns their number.

    Of a user, rows under the present id stay. Without one, the last row under an alias stays.

    Args:
        db: connection of the tables.
        checked: table of the checked rows of users.
        aliases: table of the aliases.
        keeps_first: whether the first row under an alias stays, instead of the last.
    """
    order = "asc" if keeps_first else "desc"
    name = f"merged_{uuid.uuid4().hex}"
    db.execute(
        f"create temp table {name} as select source, row_number from (select c.source, "
        "c.row_number, m.alias is not null as is_merged, row_number() over (partition by "
        "coalesce(m.user_id, c.user_id) order by m.alias is not null, "
        f"c.source {order}, c.row_number {order}) as n "
        f"from {checked} c left join {aliases} m on m.alias = c.user_id where c.reason is null) "
        "where is_merged and n > 1"
    )
    rows = db.execute(
        f"delete from {checked} c using temp.{name} m where c.reason is null "
        "and c.source = m.source and c.row_number = m.row_number"
    ).fetchall()
    return int(rows[0][0])


def resolve_aliases(db: duckdb.DuckDBPyConnection, checked: str, rows: str) -> None:
    """Refuses checked rows of aliases that lead to no one user, and resolves chains of the others.

    An alias of an alias has the user of the last one. Where some aliases lead back to themselves,
    these are refused; one that leads to them has the id that its row names.

    Args:
        db: connection of the tables.
        checked: table of the checked rows of raw.user_aliases.
        rows: query for the rows as read, for the JSON of refused ones.
    """
    _refuse(db, checked, rows, "alias = user_id", _OWN_ID)
    several = f"select alias from {checked} where reason is null group by all"
    several += " having count(distinct user_id) > 1"
    _refuse(db, checked, rows, f"alias in ({several})", _TWO_USERS)
    chains = _follow_chains(db, checked)
    # After as many steps as there are aliases, each that is left stands on a cycle.
    on_cycle = f"select c.user_id from {chains} c semi join {chains} n on n.alias = c.user_id"
    if db.execute(f"select exists ({on_cycle})").fetchall()[0][0]:
        _refuse(db, checked, rows, f"alias in ({on_cycle})", _CYCLE)
        chains = _follow_chains(db, checked)
    db.execute(
        f"update {checked} c set user_id = m.user_id from {chains} m "
        "where c.alias = m.alias and c.reason is null"
    )


def _refuse(
    db: duckdb.DuckDBPyConnection, checked: str, rows: str, condition: str, reason: str
) -> None:
    """Refuses the accepted rows of a condition, for a reason that follows the alias."""
    db.execute(
        f"update {checked} c set row = s.json, "
        f"reason = 'alias ''' || alias || ''' ' || {quote_literal(reason)} "
        f"from (select source, row_number, {ROW_JSON} as json from ({rows})) s "
        "where c.source = s.source and c.row_number = s.row_number and c.reason is null "
        f"and {condition}"
    )


def _follow_chains(db: duckdb.DuckDBPyConnection, checked: str) -> str:
    """The name of a table of the accepted aliases with the last user_id of each chain.

    Each step doubles the length that is followed; a cycle has no last one.
    """
    table = f"chain_{uuid.uuid4().hex}"
    accepted = f"select distinct alias, user_id from {checked} where reason is null"
    aliases = db.execute(f"create temp table {table} as {accepted}").fetchall()[0][0]
    for _ in range(int(aliases).bit_length()):
        following = f"chain_{uuid.uuid4().hex}"
        db.execute(
            f"create temp table {following} as select c.alias, "
            "coalesce(n.user_id, c.user_id) as user_id "
            f"from {table} c left join {table} n on n.alias = c.user_id"
        )
        db.execute(f"drop table {table}")
        table = following
    return table
