"""SQL of settings reads the rows or files of its source, whatever functions DuckDB has."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from batch_predictions.settings import DuckDBSettings
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.rows.sandbox import (
    SandboxError,
    connect_sandbox,
    parse_select,
    validate_condition,
)
from batch_predictions_tests.worlds.source_folders import HEADER, SourceFolder

SECRET = "content-of-another-file"
ROWS = HEADER + "u,i,2024-01-03,1\n"


def functions(*kinds: str) -> list[tuple[str, str | None]]:
    """Names and stability of all functions of DuckDB's catalogue, of some kinds."""
    with duckdb.connect() as db:
        return db.execute(
            "select function_name, max(stability) filter (stability = 'CONSISTENT') "
            "from duckdb_functions() where list_contains($1, function_type) "
            "and regexp_full_match(function_name, '[a-z_0-9]+') group by all order by all",
            [list(kinds)],
        ).fetchall()


TABLE_FUNCTIONS = [name for name, _ in functions("table", "table_macro")]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file outside the source's folder, which any reader of DuckDB could read."""
    path = tmp_path / "secret.csv"
    path.write_text(f"secret\n{SECRET}\n")
    return path


def test_no_function_of_tables_can_stand_in_a_condition(secret: Path) -> None:
    for name in TABLE_FUNCTIONS:
        for call in (f"{name}()", f"{name}('{secret}')"):
            for condition in (
                f"exists (from {call})",
                f"(select count(*) from {call}) > 0",
                f"amount in (select amount from {call})",
                f"case when true then (from {call} limit 1) end is not null",
            ):
                with pytest.raises(SandboxError, match="has a subquery"):
                    validate_condition(condition)


def test_a_condition_calls_only_functions_of_its_arguments() -> None:
    for name, stability in functions("scalar"):
        condition = f'"{name}"(amount) is null'
        if stability:
            validate_condition(condition)
        else:
            with pytest.raises(SandboxError, match="calls"):
                validate_condition(condition)
    for condition in ("current_date > day", "pg_get_viewdef(1) > ''", "current_schema = day"):
        with pytest.raises(SandboxError, match="calls"):
            validate_condition(condition, ["day"])
    validate_condition("current_date > day", ["day", "current_date"])


@pytest.mark.parametrize(
    "condition",
    [
        "status in ('paid', 'sent') and try_cast(amount as double) > 0",
        "nullif(trim(lower(status)), '') is not null or status like 'a%'",
        "first_value(status) over (partition by order_id order by line) = 'paid'",
        "list_contains(string_split(tags, ','), 'x') and strptime(day, '%d.%m.%Y') > '2024-01-01'",
        "not regexp_matches(note, '^test') and year(day::date) between 2020 and 2030",
    ],
)
def test_what_conditions_are_written_for_stays_possible(condition: str) -> None:
    validate_condition(condition, ["status", "amount", "order_id", "line", "tags", "day", "note"])


def test_no_function_of_tables_reads_beside_the_folder(secret: Path, tmp_path: Path) -> None:
    shop = SourceFolder(tmp_path).write("interactions.csv", ROWS)
    limits = DuckDBSettings(memory_limit="256MB", threads=1)
    for name in TABLE_FUNCTIONS:
        for argument in ("", f"'{secret}'", f"'{shop.folder}/../*'", "'https://127.0.0.1:9/a.csv'"):
            sql = f"select * from {name}({argument})"
            try:
                parse_select(sql)
            except SandboxError:
                continue
            assert name.startswith("read_") or argument == "" or "/" in argument
            with connect_sandbox(shop.folder, tmp_path / "spill", limits) as db:
                try:
                    rows = db.execute(sql).fetchmany(100)
                except duckdb.Error as error:
                    assert SECRET not in str(error)
                    continue
                assert SECRET not in str(rows) and "secret.csv" not in str(rows), name


@pytest.mark.parametrize(
    "sql",
    [
        "select * from duckdb_settings()",
        "select * from duckdb_secrets()",
        "select * from information_schema.tables",
        "select * from duckdb_settings",
        "select * from query('from duckdb_settings()')",
        "select * from glob('*')",
        "select current_setting('temp_directory') as user_id from 'interactions.csv'",
        "select getvariable('x') as user_id from 'interactions.csv'",
        "select random() as user_id from 'interactions.csv'",
        "select * from 'interactions.csv' where date < current_date",
        "from (show databases)",
        "with a as (select 1) select * from b",
        "select * from read_csv('/etc/passwd')",
        "select * from '/etc/passwd.csv'",
        "select content from read_text('../secret.csv')",
    ],
)
def test_a_query_reads_files_of_its_folder_only(secret: Path, tmp_path: Path, sql: str) -> None:
    shop = SourceFolder(tmp_path, queries={"interactions": sql}).write("interactions.csv", ROWS)
    with pytest.raises(SourceError, match=r"source\.queries\.interactions") as error:
        shop.ingest()
    assert SECRET not in str(error.value)


def test_the_settings_of_a_sandbox_stay_as_they_are(tmp_path: Path) -> None:
    with connect_sandbox(tmp_path, tmp_path / "spill", DuckDBSettings()) as db:
        for statement in ("set enable_external_access = true", "load httpfs", "install httpfs"):
            with pytest.raises(duckdb.Error):
                db.execute(statement)
        assert db.execute("from duckdb_secrets()").fetchall() == []
