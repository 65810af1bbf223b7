"""Checks the rows of a release against what the store can hold, before the release is begun.

The copy of a release is rejected as a whole by one row that the store cannot hold. So the rows are
counted first, column by column, and the message names what to correct.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from batch_predictions.serving.store.copy_rows import item_columns, store_expression
from batch_predictions.serving.store.pointer import ReleaseError
from batch_predictions.serving.store.release_contents import ReleaseContents, ReleasePartition
from batch_predictions.serving.store.store import (
    columns_of,
    declared_table,
    is_json,
    key_of,
    view_name,
)
from batch_predictions.tables import ITEM_STATE, USER_SEGMENTS, Table
from batch_predictions.tables.identifiers import MAX_ID_BYTES
from batch_predictions.warehouse import Warehouse

POSTGRES = "postgresql"
MAX_INDEX_ENTRY_BYTES = 2_704
"""Of PostgreSQL; the entry has the release's id too."""
MAX_NAME_BYTES = 63
"""Of a table, column or index of PostgreSQL, which cuts longer ones."""
MAX_ROW_TEXT_BYTES = 400_000_000
"""All texts of a row; SQLite holds 1,000,000,000 bytes, PostgreSQL reads lines of 1 GiB."""
_RELEASE_ID_BYTES = 26
_COPIED_FEATURES = {
    USER_SEGMENTS.qualified: ("user_id", "age_bracket", "gender", "location"),
    ITEM_STATE.qualified: ("item_id", "title", "category"),
}
"""Columns of the users and items of a release; zero bytes in titles are removed by the copy."""
_NAN = r"(^|[\[:,])\s*(NaN|-?Infinity)\s*($|[,\]}])"
_JSON_STRING = r"""\"(\\.|[^\"\\])*\""""


@dataclass(frozen=True)
class StoreLimit:
    """A limit of a column, or of the columns of a key.

    Attributes:
        columns: in words.
        violation: SQL that is true for the rows that the store cannot hold.
        problem: what is wrong with them, after "3 rows".
        remedy: what to do.
    """

    columns: str
    violation: str
    problem: str
    remedy: str


def validate_store_limits(warehouse: Warehouse, contents: ReleaseContents, dialect: str) -> None:
    """Checks the values of a release.

    Args:
        warehouse: with the partitions.
        contents: of the release.
        dialect: of the store, sqlite or postgresql.

    Raises:
        ReleaseError: the store cannot hold all values; the message names tables, columns, numbers
            of rows and what to do, and no value.
    """
    problems: list[str] = []
    for partition in contents.partitions:
        problems += _problems(warehouse, partition, dialect)
    if problems:
        raise ReleaseError(
            f"no release of {contents.as_of}: {'; '.join(problems)}; then predict again"
        )


def _problems(warehouse: Warehouse, partition: ReleasePartition, dialect: str) -> Iterator[str]:
    table = partition.table
    if table.qualified not in _COPIED_FEATURES:
        yield from _equal_keys(warehouse, partition)
        if dialect == POSTGRES:
            yield from _long_names(table)
    limits = list(_limits(table, dialect))
    counts = ", ".join(
        f"count(*) filter (where {limit.violation}) as n{n}" for n, limit in enumerate(limits)
    )
    [found] = warehouse.query(
        f"select {counts} from {partition.rows_sql()}",
        {"day": partition.key},
    ).to_pylist()
    for limit, rows in zip(limits, found.values(), strict=True):
        if rows:
            condition = f" (where {limit.violation})" if len(limit.violation) < 100 else ""
            yield (
                f"{table.qualified} {partition.key}, {limit.columns}: {rows:,} "
                f"{'row has' if rows == 1 else 'rows have'} {limit.problem}{condition}: "
                f"{limit.remedy}"
            )


def _limits(table: Table, dialect: str) -> Iterator[StoreLimit]:
    """The limits that the store sets for a table's rows."""
    names = _COPIED_FEATURES.get(table.qualified, tuple(columns_of(table)))
    is_published = table.qualified not in _COPIED_FEATURES
    for name in names:
        type_ = table.type_of(name)
        if type_ in ("DOUBLE", "FLOAT") or is_json(type_):
            yield from _number_limits(name, type_)
        elif type_ in ("DATE", "TIMESTAMP"):
            yield StoreLimit(
                name,
                f"not \"{name}\" between '0001-01-01' and '{_last(type_)}'",
                "a date that is not of the years 1 to 9999",
                "write a date, or null",
            )
    yield _row_limit(table, names)
    if is_published:
        yield from _key_nulls(table)
    if dialect == POSTGRES:
        for name in names:
            if table.type_of(name) == "VARCHAR" and (table is not ITEM_STATE or name == "item_id"):
                yield _zero_bytes(name, f'contains("{name}", chr(0))')
        yield from _index_limits(table)
        if is_published:
            yield from _item_limits(table)


def _number_limits(name: str, type_: str) -> Iterator[StoreLimit]:
    if type_ in ("DOUBLE", "FLOAT"):
        violation = f'not isfinite("{name}")'
    elif "DOUBLE" in type_ or "FLOAT" in type_ or type_ == "JSON":
        text = f"regexp_replace({store_expression(name, type_, False)}, '{_JSON_STRING}', '', 'g')"
        violation = f"regexp_matches({text}, '{_NAN}')"
    else:
        return
    yield StoreLimit(
        name,
        violation,
        "NaN or infinity, which SQLite and JSON do not hold",
        "let the scorer return a number, or null",
    )


def _last(type_: str) -> str:
    return "9999-12-31" if type_ == "DATE" else "9999-12-31 23:59:59.999999"


def _row_limit(table: Table, names: tuple[str, ...]) -> StoreLimit:
    """The length of all texts of a row."""
    types = {name: table.type_of(name) for name in names}
    lengths = [
        f"coalesce(strlen({store_expression(name, type_, False)}), 0)"
        for name, type_ in types.items()
        if type_ == "VARCHAR" or is_json(type_)
    ]
    return StoreLimit(
        "all texts",
        f"{' + '.join(lengths) or '0'} > {MAX_ROW_TEXT_BYTES}",
        f"more than {MAX_ROW_TEXT_BYTES:,} bytes of text",
        "shorten them",
    )


def _key_nulls(table: Table) -> Iterator[StoreLimit]:
    """The store's keys have no nulls; a null text becomes an empty one."""
    for name in key_of(table):
        if table.type_of(name) != "VARCHAR":
            yield StoreLimit(name, f'"{name}" is null', "no value in the key", "write a value")


def _equal_keys(warehouse: Warehouse, partition: ReleasePartition) -> Iterator[str]:
    """Keys that differ in null and empty text only, which are equal in the store."""
    table, key = partition.table, key_of(partition.table)
    texts = [name for name in key if table.type_of(name) == "VARCHAR"]
    bound = {"day": partition.key}
    rows_of_day = f"from {partition.rows_sql()}"
    has_both = " or ".join(
        f"""(count(*) > count("{name}") and bool_or("{name}" = ''))""" for name in texts
    )
    if not texts or not warehouse.value(f"select {has_both} {rows_of_day}", bound):
        return
    in_store = ", ".join(store_expression(name, table.type_of(name), True) for name in key)
    rows = warehouse.value(
        f"""select coalesce(sum(n), 0) from
        (select count(*) as n {rows_of_day} group by {in_store} having n > 1)""",
        bound,
    )
    if rows:
        yield (
            f"{table.qualified} {partition.key}, {', '.join(texts)}: {rows:,} rows have keys that "
            "differ only in null and empty text, which are equal in the store: write one of both"
        )


def _zero_bytes(name: str, violation: str) -> StoreLimit:
    return StoreLimit(
        name,
        violation,
        "a zero byte, which PostgreSQL does not hold",
        "remove it in the source or the scorer",
    )


def _index_limits(table: Table) -> Iterator[StoreLimit]:
    """The lengths of the entries of the store table's indexes."""
    key = _COPIED_FEATURES.get(table.qualified, ())[:1] or key_of(table)
    indexes = [key]
    if table.qualified not in _COPIED_FEATURES:
        indexes += [
            tuple(column.name for column in index.columns if column.name in columns_of(table))
            for index in declared_table(table).indexes
        ]
    for names in indexes:
        texts = [n for n in names if table.type_of(n) == "VARCHAR" or is_json(table.type_of(n))]
        if not texts:
            continue
        # A header, and at most 7 bytes before and after each value.
        room = MAX_INDEX_ENTRY_BYTES - 16 - _RELEASE_ID_BYTES
        room -= 7 * len(texts) + 15 * (len(names) - len(texts))
        length = " + ".join(
            f"coalesce(strlen({store_expression(n, table.type_of(n), False)}), 0)" for n in texts
        )
        yield StoreLimit(
            f"key ({', '.join(names)})",
            f"{length} > {room}",
            f"more than {room:,} bytes of text, which PostgreSQL cannot index",
            f"shorten the ids to at most {MAX_ID_BYTES} bytes",
        )


def _item_limits(table: Table) -> Iterator[StoreLimit]:
    """Ids in lists of items, which are keys of the release's items."""
    for name in item_columns(table):
        if table.type_of(name).endswith("[]"):
            yield _zero_bytes(name, f"""list_bool_or([contains(i, chr(0)) for i in "{name}"])""")
            yield StoreLimit(
                name,
                f"""list_bool_or([strlen(i) > {MAX_ID_BYTES} for i in "{name}"])""",
                f"an id of more than {MAX_ID_BYTES} bytes",
                f"shorten the ids to at most {MAX_ID_BYTES} bytes",
            )
        else:
            yield StoreLimit(
                name,
                f'strlen("{name}") > {MAX_INDEX_ENTRY_BYTES - 16 - _RELEASE_ID_BYTES - 7}',
                "an id that is too long for an index of PostgreSQL",
                f"shorten the ids to at most {MAX_ID_BYTES} bytes",
            )


def _long_names(table: Table) -> Iterator[str]:
    declared = declared_table(table)
    names = [declared.name, view_name(declared.name)]
    names += [column.name for column in declared.columns]
    names += [str(index.name) for index in declared.indexes]
    for name in names:
        if len(name.encode()) > MAX_NAME_BYTES:
            yield (
                f"{table.qualified}: the name {name} has more than {MAX_NAME_BYTES} bytes, which "
                "PostgreSQL cuts: declare a shorter name"
            )
