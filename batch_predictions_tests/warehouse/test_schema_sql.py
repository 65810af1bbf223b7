"""Rows fit the declaration of their table, or nothing is written."""

from __future__ import annotations

import datetime as dt

import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import settings as budget
from hypothesis import strategies as st

from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.schema_sql import WarehouseError, tables_in
from batch_predictions_tests.worlds.pets import DAY, NEXT, PETS, ROW, make_pets, read_ids, read_pets
from batch_predictions_tests.worlds.properties import ONE_FIXTURE_FOR_ALL


def test_columns_are_matched_by_name_and_not_by_position(warehouse: Warehouse) -> None:
    names = [column.name for column in PETS.columns if column.name != "date"]
    warehouse.replace_partition(PETS, DAY, ROW)
    in_order = read_pets(warehouse)
    in_reverse = f"select {', '.join(reversed(names))} from ({ROW})"
    assert not warehouse.replace_partition(PETS, DAY, in_reverse).changed
    assert read_pets(warehouse) == in_order


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (f"select * exclude (legs, toys) from ({ROW})", "missing: legs, toys"),
        (f"select *, 1 as wings, 2 as tails from ({ROW})", "not declared: wings, tails"),
        (f"select * replace ('four' as legs) from ({ROW})", "legs is VARCHAR, declared BIGINT"),
        (f"select * replace (1 as pet_id) from ({ROW})", "pet_id is INTEGER, declared VARCHAR"),
        (f"select * replace (4.5 as legs) from ({ROW})", r"legs is DECIMAL\(2,1\)"),
        (f"select * replace ([1] as toys) from ({ROW})", r"toys is INTEGER\[\], declared"),
        (f"select * replace (date '2024-01-01' as born) from ({ROW})", "born is DATE"),
        (
            f"select * exclude (legs) replace (1 as pet_id), 1 as wings from ({ROW})",
            "missing: legs; not declared: wings; pet_id is INTEGER",
        ),
        (f"select * replace ('{{bad' as passport) from ({ROW})", "passport"),
    ],
)
def test_rows_that_do_not_fit_are_an_error_that_names_the_columns(
    warehouse: Warehouse, rows: str, message: str
) -> None:
    warehouse.replace_partition(PETS, DAY, ROW)
    with pytest.raises(WarehouseError, match=message) as caught:
        warehouse.replace_partition(PETS, DAY, rows)
    assert "raw.pets" in str(caught.value)
    assert read_ids(warehouse) == ["1"]


def test_narrower_numbers_widen_and_nulls_fit_any_type(warehouse: Warehouse) -> None:
    warehouse.replace_partition(
        PETS,
        DAY,
        "select 'a'::ENUM('a', 'b') as pet_id, 2 as weight, 4::TINYINT as legs, null as tags, "
        "null as toys, null as passport, null as born",
    )
    assert read_pets(warehouse) == [
        {
            "pet_id": "a",
            "weight": 2.0,
            "legs": 4,
            "tags": None,
            "toys": None,
            "passport": None,
            "born": None,
        }
    ]


@pytest.mark.usefixtures("identifiers_shown")
def test_a_duplicate_key_is_an_error_that_names_it(warehouse: Warehouse) -> None:
    warehouse.replace_partition(PETS, DAY, ROW)
    twice = f"{ROW} union all {ROW.replace('4 as legs', '3 as legs')}"
    with pytest.raises(WarehouseError, match=r"key \(pet_id\) is not unique: \('1',\) .* 2 times"):
        warehouse.replace_partition(PETS, DAY, twice)
    assert [row["legs"] for row in read_pets(warehouse)] == [4]


def test_errors_have_no_value_of_a_row_by_default(warehouse: Warehouse) -> None:
    secret = ROW.replace("'1' as pet_id", "'zq-rex' as pet_id")
    assert "zq-rex" in secret
    bad_json = f"select * replace ('{{zq-x' as passport) from ({ROW})"
    for rows in (f"{secret} union all {secret}", bad_json):
        with pytest.raises(WarehouseError) as caught:
            warehouse.replace_partition(PETS, DAY, rows)
        assert "zq-" not in str(caught.value)


def test_a_row_of_another_partition_is_an_error(
    warehouse: Warehouse,
) -> None:
    stray = f"{ROW} union all by name (select date '2024-03-02' as date, '2' as pet_id)"
    with pytest.raises(WarehouseError, match="1 rows have date 2024-03-02, not 2024-03-01"):
        warehouse.replace_partition(
            PETS, DAY, f"select * replace (coalesce(date, '{DAY}') as date) from ({stray})"
        )
    with pytest.raises(WarehouseError, match="1 rows have date None"):
        warehouse.replace_partition(PETS, DAY, f"select null::DATE as date, * from ({ROW})")
    assert warehouse.partitions(PETS) == []


def test_rows_may_have_the_partition_column(warehouse: Warehouse) -> None:
    warehouse.replace_partition(PETS, DAY, f"select date '{DAY}' as date, * from ({ROW})")
    stored = pq.read_table(warehouse.path(PETS, DAY), partitioning=None)
    assert stored["date"].to_pylist() == [dt.date(2024, 3, 1)]


def test_maps_lists_json_and_times_round_trip(warehouse: Warehouse) -> None:
    warehouse.replace_partition(PETS, DAY, ROW)
    assert read_pets(warehouse) == [
        {
            "pet_id": "1",
            "weight": 1.5,
            "legs": 4,
            "tags": [("a", "b")],
            "toys": ["ball"],
            "passport": '{"no": 7}',
            "born": dt.datetime(2024, 2, 1, 3, 4, 5),
        }
    ]
    query = (
        "select tags['a'], toys[1], passport->>'no', typeof(passport), typeof(tags) from raw.pets"
    )
    assert warehouse.query(query).to_pylist() == [
        dict(
            zip(
                warehouse.query(query).column_names,
                ("b", "ball", "7", "JSON", "MAP(VARCHAR, VARCHAR)"),
                strict=True,
            )
        )
    ]


@budget(max_examples=15, deadline=None, suppress_health_check=ONE_FIXTURE_FOR_ALL)
@example(["00123", "1.0", "1e3", " 7 ", "NULL", "nan", "0x1F", "2024-01-01", "it's", "ß\U0001f600"])
@given(st.lists(st.text(min_size=1).filter(lambda s: "\0" not in s), unique=True, max_size=8))
def test_ids_round_trip_as_text(warehouse: Warehouse, names: list[str]) -> None:
    names = [name for name in names if name.isprintable()]
    warehouse.replace_partition(PETS, DAY, make_pets(pet_id=names))
    assert sorted(read_ids(warehouse)) == sorted(names)


def test_parameters_are_bound_and_unused_ones_are_left_out(
    warehouse: Warehouse,
) -> None:
    hostile = "1'; drop table raw.pets; --"
    warehouse.replace_partition(PETS, DAY, make_pets(pet_id=[hostile, "2"]))
    rows = warehouse.query(
        "select pet_id from raw.pets where pet_id = $who", {"who": hostile, "unused": 1}
    )
    assert rows["pet_id"].to_pylist() == [hostile]
    result = warehouse.replace_partition(
        PETS, NEXT, f"select * replace ($who::VARCHAR as pet_id) from ({ROW})", {"who": hostile}
    )
    assert result.rows == 1 and read_ids(warehouse, NEXT) == [hostile]
    assert warehouse.value("select count(*) from raw.pets where pet_id = $a", {"a": "9"}) == 0
    assert warehouse.value("select pet_id from raw.pets where pet_id = $a", {"a": "9"}) is None


def test_tables_are_found_in_the_syntax_tree_of_a_query() -> None:
    query = """
        with pets as (select * from raw.users)  -- raw.items
        select 'raw.reviews' from pets join raw.pets as p on true
        where exists (select 1 from features.item_state) and x in (from range(3))
    """
    assert tables_in(query) == {"raw.users", "raw.pets", "features.item_state"}
    assert tables_in("select 1") == set()
    assert tables_in("from elsewhere.users, users") == set()
    with pytest.raises(ValueError, match="not a query"):
        tables_in("select from where")
