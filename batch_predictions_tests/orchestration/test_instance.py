"""Who holds the slots of a pool, and how long a run waits for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from batch_predictions.orchestration.instance import prepare, slot_holders
from batch_predictions.orchestration.job_runner import POOL, JobRunner, RunError
from batch_predictions.orchestration.progress import show_progress
from batch_predictions.settings import Settings, SettingsError
from batch_predictions_tests.worlds.postgres import require_dagster_postgres
from batch_predictions_tests.worlds.started_runs import start_run


def test_waiting_for_the_pool_ends_with_a_remedy(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run_id = start_run(instance, {})
    settings = Settings(home=tmp_path, execution={"pool_wait_minutes": 0})
    runner = JobRunner(instance, dg.Definitions(), [], settings)
    with (
        show_progress(1.0) as progress,
        pytest.raises(RunError, match=rf"run {run_id} .* --end-stuck-runs"),
    ):
        runner.wait_for_pool(progress)


def test_a_closed_pool_is_told_and_not_waited_for(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    runner = JobRunner(instance, dg.Definitions(), [], Settings(home=tmp_path))
    with show_progress(1.0) as progress:
        runner.wait_for_pool(progress)
        instance.event_log_storage.set_concurrency_slots(POOL, 0)
        with pytest.raises(RunError, match="limit of the pool gpu is 0"):
            runner.wait_for_pool(progress)
        instance.event_log_storage.set_concurrency_slots(POOL, 2)
        runner.wait_for_pool(progress)


def test_the_slot_of_a_run_that_has_ended_is_freed(instance: dg.DagsterInstance) -> None:
    run_id = start_run(instance, {})
    run = instance.get_run_by_id(run_id)
    assert run is not None
    instance.report_run_failed(run, "its process was killed")
    assert slot_holders(instance, POOL) == []
    claims = instance.event_log_storage.get_concurrency_info(POOL).claimed_slots
    assert claims == []


@pytest.mark.parametrize(
    ("storage", "url", "message"),
    [
        ({"postgres_url": {"env": "DAGSTER_URL"}}, None, "DAGSTER_URL is not set"),
        ({"postgres_url": {"env": "DAGSTER_URL"}}, "postgresql://h/d", "postgresql\\+psycopg2://"),
        ({"postgres_db": {"hostname": "h", "db_name": "d"}}, None, "scheme: postgresql\\+psycopg2"),
    ],
)
def test_another_driver_than_dagsters_storage_needs_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    storage: dict[str, Any],
    url: str | None,
    message: str,
) -> None:
    """SQLAlchemy 2.1 takes psycopg 3 for postgresql://, which Dagster's storage cannot use."""
    require_dagster_postgres()
    monkeypatch.setenv("DAGSTER_HOME", "")
    if url is not None:
        monkeypatch.setenv("DAGSTER_URL", url)
    settings = Settings(home=tmp_path, execution={"instance": {"storage": {"postgres": storage}}})
    with pytest.raises(SettingsError, match=message):
        prepare(settings)
    monkeypatch.setenv("DAGSTER_URL", "postgresql+psycopg2://h/d")
    right = {"scheme": "postgresql+psycopg2", **storage.get("postgres_db", {})}
    storage |= {"postgres_db": right} if "postgres_db" in storage else {}
    settings = Settings(home=tmp_path, execution={"instance": {"storage": {"postgres": storage}}})
    assert "storage:" in (prepare(settings) / "dagster.yaml").read_text()
