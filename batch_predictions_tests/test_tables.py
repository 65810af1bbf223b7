"""The declarations: whole, consistent, and unique by name."""

from __future__ import annotations

import dataclasses

import duckdb
import pytest

from batch_predictions.tables import TABLES, USERS, Column, Table, columns, declare
from batch_predictions.tables.identifiers import is_identifying

ALL = pytest.mark.parametrize("table", list(TABLES.values()), ids=list(TABLES))


@ALL
def test_keys_orders_and_folders_are_columns_of_the_table(table: Table) -> None:
    names = [column.name for column in table.columns]
    assert len(names) == len(set(names))
    assert {*table.key, *table.order, *table.folders} <= set(names)


@ALL
def test_everything_is_described(table: Table) -> None:
    assert table.description.strip().endswith(".")
    assert all(column.description.strip() for column in table.columns)


@ALL
def test_types_are_names_of_duckdb(table: Table) -> None:
    """`describe` answers with these names, and declarations are compared with it."""
    with duckdb.connect() as db:
        for column in table.columns:
            described = db.execute(f"describe select null::{column.type} as x").fetchone()
            assert described and described[1] == column.type, column.name


@ALL
def test_the_partition_column_is_a_date_and_comes_first(table: Table) -> None:
    if table.partition:
        assert table.columns[0].name == table.partition
        assert table.columns[0].type == "DATE"


@ALL
def test_ids_are_text_and_money_is_double(table: Table) -> None:
    for column in table.columns:
        if column.name.endswith("_id"):
            assert column.type == "VARCHAR", column.name
        if column.name in {"price", "amount", "quantity"} or "spend" in column.name:
            assert column.type == "DOUBLE", column.name


@ALL
def test_ids_and_texts_of_users_are_identifying(table: Table) -> None:
    identifying = {column.name for column in table.columns if is_identifying(column)}
    ids = {c.name for c in table.columns if c.name.endswith(("_id", "_ids"))}
    texts = {
        "text",
        "title",
        "alias",
        "attributes",
        "user_attributes",
        "groups",
        "reason",
        "row",
        "key",
        "term",
    }
    assert identifying == ids | {c.name for c in table.columns if c.name in texts}


def test_texts_of_plugins_are_identifying_and_numbers_are_not() -> None:
    declared = columns("""
        date DATE: day
        order_id BIGINT: id
        nickname VARCHAR: text
        tags VARCHAR[]: texts
        payload JSON: anything
        amount DOUBLE: number
        row_number BIGINT: number
    """)
    assert [c.name for c in declared if is_identifying(c)] == [
        "order_id",
        "nickname",
        "tags",
        "payload",
    ]


def test_predictions_have_a_model_version() -> None:
    for name, table in TABLES.items():
        if name.startswith("predictions.") and name != "predictions.exclusions":
            assert table.type_of("model_version") == "VARCHAR", name
            assert table.key, name


def test_a_declaration_reads_as_a_table() -> None:
    declared = columns("""
        date DATE: day: as of
        tags MAP(VARCHAR, VARCHAR): what else
    """)
    assert declared == (
        Column("date", "DATE", "day: as of"),
        Column("tags", "MAP(VARCHAR, VARCHAR)", "what else"),
    )


def test_a_table_can_be_declared_twice_if_equal() -> None:
    assert declare(dataclasses.replace(USERS)) == USERS
    with pytest.raises(ValueError, match=r"raw\.users is declared twice"):
        declare(dataclasses.replace(USERS, key=()))
    assert TABLES["raw.users"] == USERS


def test_a_column_that_is_not_declared_has_no_type() -> None:
    with pytest.raises(KeyError):
        USERS.type_of("shoe_size")
