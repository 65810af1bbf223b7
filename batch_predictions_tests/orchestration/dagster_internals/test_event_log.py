"""What Dagster stores of a home's runs: nothing twice, and ranges in batches."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from batch_predictions.core.file_hashes import hash_file
from batch_predictions.core.redaction import configure, redact_logs
from batch_predictions.orchestration import instance as home_instance
from batch_predictions.orchestration.dagster_internals.event_log import HomeEventLogStorage
from batch_predictions.settings import Settings, SettingsError
from batch_predictions.tables import ITEM_STATE
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.home import PARTITIONS
from batch_predictions_tests.worlds.postgres import empty_postgres, require_dagster_postgres
from batch_predictions_tests.worlds.recorded_assets import DAYS, ITEMS, RecordedAssets, home_dagster

MATERIALIZATION = dg.DagsterEventType.ASSET_MATERIALIZATION


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def instance(
    request: pytest.FixtureRequest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    if request.param == "postgresql":
        use_postgres(settings, monkeypatch)
    with home_dagster(settings, monkeypatch) as instance:
        yield instance


@pytest.fixture
def in_files(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    with home_dagster(settings, monkeypatch) as instance:
        yield instance


def use_postgres(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of Dagster's records in an empty PostgreSQL."""
    require_dagster_postgres()
    url = sa.make_url(empty_postgres()).set(drivername="postgresql+psycopg2")
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", url.render_as_string(hide_password=False))
    postgres = {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}
    settings.execution.instance["storage"] = {"postgres": postgres}


@pytest.fixture
def shop(in_files: dg.DagsterInstance, warehouse: Warehouse) -> RecordedAssets:
    return RecordedAssets(in_files, warehouse)


def test_a_home_uses_this_storage_unless_the_settings_name_another(
    in_files: dg.DagsterInstance, settings: Settings
) -> None:
    assert isinstance(in_files.event_log_storage, HomeEventLogStorage)
    other = settings.model_copy(deep=True)
    other.execution.instance["storage"] = {"sqlite": {"base_dir": "elsewhere"}}
    text = (home_instance.prepare(other) / "dagster.yaml").read_text(encoding="utf-8")
    assert "HomeEventLogStorage" not in text and "elsewhere" in text


def test_postgresql_without_its_package_is_refused_in_one_sentence(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql+psycopg2://u:p@host/dagster")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    postgres = {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}
    settings.execution.instance["storage"] = {"postgres": postgres}
    with pytest.raises(SettingsError, match="with the extra postgres"):
        home_instance.prepare(settings)


def test_a_process_without_dagster_home_finds_the_events_of_the_home(
    in_files: dg.DagsterInstance, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME")
    monkeypatch.setenv("BATCH_PREDICTIONS_HOME", str(settings.home))
    elsewhere = HomeEventLogStorage.from_config_value(None, {})
    index = settings.home / "dagster" / "history" / "runs" / "index.db"
    assert elsewhere.path_for_shard("index") == str(index) and index.exists()


def read_database(url: str) -> bytes:
    """The rows of all tables, as text."""
    engine = sa.create_engine(url)
    with engine.connect() as db:
        tables = sa.inspect(db).get_table_names()
        rows = [db.exec_driver_sql(f'select * from "{table}"').fetchall() for table in tables]
    engine.dispose()
    return repr(rows).encode()


def test_the_record_of_a_failure_has_no_password(
    instance: dg.DagsterInstance, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in an exception and its cause, nor in what a step logs or writes."""
    password = 's3cret"\\pass'
    url = sa.URL.create("postgresql", "user", password, "host").render_as_string(False)
    configure([url], show_identifiers=False)
    before = logging.getLogRecordFactory()
    redact_logs()

    @dg.op
    def connect(context) -> None:  # type: ignore[no-untyped-def]
        context.log.info(f"connecting with {password}")
        logging.getLogger("driver").warning("the URL is %s", url)
        try:
            raise ConnectionError({"password": password})
        except ConnectionError as error:
            raise RuntimeError(f"cannot connect to {url}") from error

    @dg.job
    def failing() -> None:
        connect()

    try:
        result = failing.execute_in_process(instance=instance, raise_on_error=False)
    finally:
        logging.setLogRecordFactory(before)
        configure([], show_identifiers=False)
    [failure] = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    data = failure.get_dagster_event().step_failure_data
    assert data.error is not None and data.error.cause is not None
    assert "cannot connect to postgresql://user:***@host" in data.error.cause.message
    instance.event_log_storage.dispose()
    stored = [path.read_bytes() for path in settings.home.rglob("*") if path.is_file()]
    if "storage" in settings.execution.instance:
        stored.append(read_database(os.environ["DAGSTER_POSTGRES_URL"]))
    assert any(b"cannot connect to" in content for content in stored)
    assert not any(b"s3cret" in content for content in stored)


def test_a_partition_with_equal_rows_is_recorded_once(
    instance: dg.DagsterInstance, warehouse: Warehouse
) -> None:
    shop = RecordedAssets(instance, warehouse)
    shop.run(*DAYS)
    assert shop.recorded() == [(day, 1) for day in DAYS] and shop.plots == ["bought", "shelved"]
    shop.run(*DAYS)
    assert shop.recorded() == [(day, 1) for day in DAYS]
    assert shop.recorded("shelved") == [(day, 0) for day in DAYS] and len(shop.plots) == 2
    shop.rows["2024-01-02"] = 2
    shop.run(*DAYS)
    assert shop.recorded()[3:] == [("2024-01-02", 2)]
    assert len(shop.plots) == 2, "the newest day is the one that is drawn"
    assert shop.instance.get_materialized_partitions(dg.AssetKey("bought")) == set(DAYS)


def test_who_materializes_by_hand_sees_that_it_has_happened(
    instance: dg.DagsterInstance, warehouse: Warehouse
) -> None:
    shop = RecordedAssets(instance, warehouse)
    shop.run(DAYS[0])
    shop.run(DAYS[0], by_hand=True)
    assert shop.recorded() == [(DAYS[0], 1)] * 2 and len(shop.plots) == 2
    shop.run(DAYS[0])
    assert len(shop.recorded()) == 2


def test_equal_rows_from_new_inputs_are_recorded_without_a_plot(shop: RecordedAssets) -> None:
    shop.run(DAYS[0])
    shop.rows[DAYS[0]] = 2
    shop.run(DAYS[0])
    assert len(shop.recorded()) == 2
    assert shop.recorded("shelved") == [(DAYS[0], 0)] * 2, "else the UI would call it outdated"
    assert shop.plots == ["bought", "shelved", "bought"]


def test_equal_rows_of_another_code_version_are_recorded(shop: RecordedAssets) -> None:
    shop.version = "1"
    shop.run(DAYS[0])
    shop.run(DAYS[0])
    assert len(shop.recorded()) == 1
    shop.version = "2"
    shop.run(DAYS[0])
    assert len(shop.recorded()) == 2 and len(shop.plots) == 2


def test_a_partition_that_this_instance_never_recorded_is_recorded(
    shop: RecordedAssets, warehouse: Warehouse
) -> None:
    warehouse.replace_partition(ITEM_STATE, DAYS[0], ITEMS, {"n": 1})
    shop.run(DAYS[0])
    assert shop.recorded() == [(DAYS[0], 1)] and "bought" in shop.plots


def test_wiped_partitions_are_missing_until_they_are_made_again(
    instance: dg.DagsterInstance, warehouse: Warehouse
) -> None:
    """As the UI's wiping of partitions, which Dagster's own SQL storages refuse."""
    shop, bought = RecordedAssets(instance, warehouse), dg.AssetKey("bought")
    shop.run(*DAYS)

    def shown() -> tuple[list[str], str | None]:
        """Partitions that the UI shows as materialized, and the newest materialization's."""
        value = get_and_update_asset_status_cache_value(
            instance, bought, PARTITIONS.daily, instance
        )
        newest = instance.get_latest_materialization_event(bought)
        assert value is not None
        subset = value.deserialize_materialized_partition_subsets(PARTITIONS.daily)
        return list(subset.get_partition_keys()), newest and newest.get_dagster_event().partition

    assert shown() == ([*DAYS], DAYS[2])
    instance.wipe_asset_partitions(bought, [DAYS[0], DAYS[2]])
    assert shown() == ([DAYS[1]], DAYS[1])
    assert shop.recorded() == [(DAYS[1], 1)] and len(shop.recorded("shelved")) == len(DAYS)
    with instance.event_log_storage.index_connection() as db:  # type: ignore[attr-defined]
        orphans = "select count(*) from asset_event_tags where event_id not in {}"
        [tags] = db.execute(sa.text(orphans.format("(select id from event_logs)"))).fetchone()
    assert tags == 0
    shop.run(*DAYS)
    assert shown() == ([*DAYS], DAYS[2]), "equal rows, but no longer a repetition"
    assert shop.recorded() == [(DAYS[1], 1), (DAYS[0], 1), (DAYS[2], 1)]


def test_a_batch_is_stored_as_single_events_are(
    shop: RecordedAssets, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.run(*DAYS)
    [batched] = shop.instance.get_runs()
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "0")
    shop.rows = dict.fromkeys(DAYS, 2)
    shop.run(*DAYS)
    single = shop.instance.get_runs(limit=1)[0]
    kinds = [
        [entry.dagster_event_type for entry in shop.instance.all_logs(run.run_id)]
        for run in (batched, single)
    ]
    assert sorted(map(str, kinds[0])) == sorted(map(str, kinds[1]))
    assert kinds[0].count(MATERIALIZATION) == 2 * len(DAYS)
    assert shop.recorded() == [*((day, 1) for day in DAYS), *((day, 2) for day in DAYS)]


def test_few_databases_stay_open(in_files: dg.DagsterInstance, warehouse: Warehouse) -> None:
    shop = RecordedAssets(in_files, warehouse)
    storage = in_files.event_log_storage
    assert isinstance(storage, HomeEventLogStorage)
    for number in range(6):
        shop.rows[DAYS[0]] = number
        shop.run(DAYS[0])
    assert len(storage._engines) <= 4
    assert all(in_files.all_logs(run.run_id) for run in in_files.get_runs())


def test_in_postgresql_few_connections_serve_all_events(
    settings: Settings, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_postgres(settings, monkeypatch)
    with home_dagster(settings, monkeypatch) as instance:
        engine = instance.event_log_storage._engine  # type: ignore[attr-defined]
        opened: list[object] = []
        sa.event.listen(engine, "connect", lambda connection, _: opened.append(connection))
        RecordedAssets(instance, warehouse).run(*DAYS)
        [run] = instance.get_runs()
        assert len(instance.all_logs(run.run_id)) > 10
        assert len(opened) <= 2


def test_what_is_out_of_date_follows_the_rows(shop: RecordedAssets) -> None:
    """By rows and not by runs: a day that is made again with equal rows makes nothing stale."""
    shop.run(*DAYS)
    versions = shop.data_versions()
    assert set(versions) == {*DAYS}
    paths = {day: shop.warehouse.path(ITEM_STATE, day) for day in DAYS}
    assert versions == {day: hash_file(path)[:16] for day, path in paths.items()}
    assert shop.stale() == []
    shop.run(DAYS[1], by_hand=True)
    assert shop.data_versions() == versions and shop.stale() == []
    shop.rows[DAYS[1]] = 2
    shop.run(DAYS[1], by_hand=True, only="bought")
    changed = shop.data_versions()
    assert {day for day in DAYS if changed[day] != versions[day]} == {DAYS[1]}
    assert shop.stale() == [DAYS[1]]
