"""The SQL of databases that tests cannot reach."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa

from batch_predictions.settings import SourceSettings
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.databases.adbc import ADBC_DRIVERS
from batch_predictions.sources.databases.connection import DatabaseUrl
from batch_predictions.sources.databases.database_errors import database_error
from batch_predictions.sources.databases.dialects import (
    BigQueryDialect,
    SnowflakeDialect,
    split_table_name,
)
from batch_predictions.sources.databases.sqlalchemy_rows import BoundDialect
from batch_predictions.sources.databases.time_columns import TypedTimeColumn

DAY = dt.date(2024, 3, 31)


def test_snowflake() -> None:
    dialect = SnowflakeDialect()
    # Names without quotes are upper case in Snowflake; columns have the case of the database.
    assert dialect.table(split_table_name("", 'shop."Order Lines"')) == 'shop."Order Lines"'
    assert dialect.column("ORDERED_AT") == '"ORDERED_AT"'
    time = TypedTimeColumn('"T"', dialect, "Europe/Berlin", "instant")
    assert time.within(DAY, DAY, margin=0) == (
        "\"T\" >= '2024-03-30 23:00:00 +0000'::timestamp_tz "
        "and \"T\" < '2024-03-31 22:00:00 +0000'::timestamp_tz"
    )
    assert time.day(DAY, DAY) == "to_date(convert_timezone('Europe/Berlin', \"T\"))"
    url = sa.make_url("snowflake://u:p@acc/db/public?warehouse=wh&role=r")
    arguments = ADBC_DRIVERS["snowflake"].arguments(url, SourceSettings())["db_kwargs"]
    assert arguments["adbc.snowflake.sql.account"] == "acc"
    assert arguments["adbc.snowflake.sql.db"] == "db"
    assert arguments["adbc.snowflake.sql.schema"] == "public"
    assert arguments["adbc.snowflake.sql.warehouse"] == "wh"
    assert (arguments["username"], arguments["password"]) == ("u", "p")


def test_bigquery() -> None:
    dialect = BigQueryDialect()
    assert (
        dialect.table(split_table_name("", "my-project.shop.lines"))
        == "`my-project`.`shop`.`lines`"
    )
    with pytest.raises(SourceError, match="cannot be a name in BigQuery"):
        dialect.column("a`b")
    time = TypedTimeColumn("`t`", dialect, "Europe/Berlin", "timestamp")
    assert time.within(DAY, DAY, margin=0) == (
        "`t` >= DATETIME '2024-03-30 23:00:00' and `t` < DATETIME '2024-03-31 22:00:00'"
    )
    assert time.day(DAY, DAY) == "date(timestamp(`t`, 'UTC'), 'Europe/Berlin')"
    url = sa.make_url("bigquery://project/shop?credentials_path=/key.json")
    arguments = ADBC_DRIVERS["bigquery"].arguments(url, SourceSettings())["db_kwargs"]
    assert arguments["adbc.bigquery.sql.project_id"] == "project"
    assert arguments["adbc.bigquery.sql.auth_credentials"] == "/key.json"


def test_sqlalchemy_binds_the_bounds() -> None:
    from sqlalchemy.dialects import mysql

    dialect = BoundDialect(mysql.dialect())
    time = TypedTimeColumn(dialect.column("a:b`"), dialect, "UTC", "timestamp")
    assert time.within(DAY, DAY, margin=0) == ("`a\\:b``` >= :bound_0 and `a\\:b``` < :bound_1")
    assert dialect.values == {
        "bound_0": dt.datetime(2024, 3, 31),
        "bound_1": dt.datetime(2024, 4, 1),
    }
    assert dialect.table(split_table_name("", "shop.order")) == "shop.`order`"


@pytest.mark.parametrize(
    ("text", "is_connection_error"),
    [
        ("connection to server at h failed: Connection refused", True),
        ("FATAL: terminating connection due to administrator command", True),
        ("(2006, 'MySQL server has gone away')", True),
        ("database is locked", True),
        ("FATAL: sorry, too many clients already", True),
        ('connection to server failed: password authentication failed for user "x"', False),
        ('relation "orders" does not exist', False),
        ("syntax error at or near from", False),
    ],
)
def test_errors_that_another_try_may_help(text: str, is_connection_error: bool) -> None:
    url = DatabaseUrl.parse("postgresql://u:secret@h/d")
    error = database_error(OSError(f"{text} (secret)"), url, "reading orders", 60)
    assert error.is_connection_error is is_connection_error
    assert "secret" not in str(error)
    assert str(error).startswith("reading orders in postgresql://h/d failed: ")
