"""Dagster's records and the releases in PostgreSQL: a night of a small shop, then readers."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from batch_predictions_tests.worlds.postgres import empty_postgres, require_dagster_postgres
from batch_predictions_tests.worlds.retail_fixtures import (
    environment,
    run_command,
    run_json,
    write_shop,
)

pytestmark = pytest.mark.slow

LAST = dt.date(2024, 3, 3)
STORAGE = {"storage": {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}}


def test_a_night_runs_on_postgresql_without_a_database_in_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_dagster_postgres()
    url = sa.make_url(empty_postgres())
    secret = str(url.password)
    dagster_url = url.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)
    source, home = tmp_path / "shop", tmp_path / "home"
    source.mkdir()
    write_shop(source, days=28, last=LAST)
    env = environment(
        home,
        source,
        BATCH_PREDICTIONS_SERVING__URL=url.render_as_string(hide_password=False),
        BATCH_PREDICTIONS_EXECUTION__INSTANCE=json.dumps(STORAGE),
        DAGSTER_POSTGRES_URL=dagster_url,
    )
    night = run_json("run", "--only", "recommendations", env=env, cwd=tmp_path)
    assert night["failed"] == {} and night["release_id"].startswith(str(LAST))

    monkeypatch.setenv("DAGSTER_POSTGRES_URL", dagster_url)
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        assert type(instance.event_log_storage).__name__ == "HomePostgresEventLogStorage"
        assert type(instance.run_storage).__name__ == "HomePostgresRunStorage"
        runs = instance.get_runs()
        assert runs and {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
        key = dg.AssetKey(["predictions", "recommendations"])
        assert instance.get_materialized_partitions(key) == {str(LAST)}

    process = run_command("status", "--json", env=env, cwd=tmp_path, check=False)
    status: dict[str, Any] = json.loads(process.stdout)
    assert status["release_id"] == night["release_id"]
    assert {run["status"] for run in status["runs"]} == {"SUCCESS"}
    lookup = ["lookup", "recommendations", "u01"]
    answer = run_json(*lookup, env=env, cwd=tmp_path)
    assert answer["release_id"] == night["release_id"]
    # With --only recommendations comes the fallback.
    unknown = run_json("lookup", "recommendations", "nobody", env=env, cwd=tmp_path)
    assert unknown["source"] == "popular" and unknown["items"]

    # Retention removes old runs there too, and keeps the newest materializations.
    _age_runs(dagster_url)
    run_command("prune", env=env, cwd=tmp_path)
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        assert not instance.get_runs()
        assert instance.get_materialized_partitions(key) == {str(LAST)}

    assert not (home / "serving.sqlite").exists()
    assert not list((home / "dagster").rglob("*.db"))
    files = [path for path in home.rglob("*") if path.is_file()]
    assert not [path for path in files if secret.encode() in path.read_bytes()]


def _age_runs(url: str) -> None:
    """Moves the runs' times to a year ago."""
    engine = sa.create_engine(url.replace("postgresql+psycopg2:", "postgresql+psycopg:"))
    with engine.begin() as db:
        year = "interval '365 days'"
        changed = db.exec_driver_sql(
            f"update runs set create_timestamp = create_timestamp - {year}, "
            f"update_timestamp = update_timestamp - {year}"
        )
        assert changed.rowcount
    engine.dispose()
