"""`batch-predictions run` takes in the promotions that it needs, next week's among them."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import duckdb
import pytest

from batch_predictions_tests.worlds.programs import run_python
from batch_predictions_tests.worlds.retail_fixtures import environment, run_json, write_shop

pytestmark = pytest.mark.slow

LAST = dt.date(2024, 3, 17)
HEADER = "item_id,location,starts_on,ends_on,display\n"
LIST_JOBS = """
import json
from batch_predictions.definitions import defs
graph = defs.resolve_asset_graph()
jobs = {job.name: job for job in defs.resolve_all_job_defs() if not job.name.startswith("__")}
print(json.dumps({
    name: {
        "raw": sorted(key.path[1] for key in job.asset_layer.selected_asset_keys
                      if key.path[0] == "raw"),
        "last": job.partitions_def.get_last_partition_key(),
    }
    for name, job in jobs.items()
}))
"""


def _query(home: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as db:
        return db.execute(sql).fetchall()


def _weeks(home: Path) -> list[str]:
    folder = home / "warehouse" / "raw" / "promotion_calendar"
    return sorted(path.parent.name for path in folder.glob("*/data.parquet"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A shop of eight weeks with a calendar that reaches beyond them, run once for a Saturday."""
    root = tmp_path_factory.mktemp("promotions")
    write_shop(root / "source", days=56, last=LAST)
    (root / "source" / "promotion_calendar.csv").write_text(
        HEADER + "red-01,,2024-01-01,2024-04-30,shelf\nred-02,,2024-03-18,2024-03-20,\n"
    )
    env = environment(root / "home", root / "source", BATCH_PREDICTIONS_DEMAND__PROMOTION_WEEKS="4")
    run_json("run", "--date", "2024-03-16", env=env, cwd=root)
    return root, env


def test_a_run_ingests_past_weeks_and_those_of_the_next_14_days(
    shop: tuple[Path, dict[str, str]],
) -> None:
    root, _ = shop
    # On a Saturday the week due is the one before, from 4 March: seven before it are those of the
    # home, which begins on 22 January.
    weeks_before = ["01-22", "01-29", "02-05", "02-12", "02-19", "02-26"]
    weeks = [*weeks_before, "03-04", "03-11", "03-18", "03-25"]
    assert _weeks(root / "home") == [f"week=2024-{week}" for week in weeks]
    newest = "select item_id from raw.promotion_calendar where week = '2024-03-18' order by all"
    assert _query(root / "home", newest) == [("red-01",), ("red-02",)]


def test_a_run_ingests_only_the_changed_week_of_a_calendar(
    shop: tuple[Path, dict[str, str]],
) -> None:
    root, env = shop
    weeks_before = {
        path: path.stat().st_mtime_ns for path in (root / "home").rglob("raw/*/*/data.parquet")
    }
    (root / "source" / "promotion_calendar.csv").write_text(
        HEADER + "red-01,,2024-01-01,2024-04-30,shelf\nred-02,,2024-03-12,2024-03-20,\n"
    )
    summary = run_json("run", "--date", "2024-03-16", env=env, cwd=root)
    assert summary["ingested"] == [] and summary["trained"] == []
    changed = [path for path, time in weeks_before.items() if path.stat().st_mtime_ns != time]
    # The week that the promotion reaches now, and the next, whose row says when it began.
    assert sorted(path.parent.name for path in changed) == ["week=2024-03-11", "week=2024-03-18"]
    assert len(_weeks(root / "home")) == 10


def test_only_the_weekly_job_ingests_the_calendar_ahead(
    shop: tuple[Path, dict[str, str]],
) -> None:
    root, env = shop
    jobs = json.loads(run_python("-c", LIST_JOBS, env=env, cwd=root).stdout)
    assert jobs["ingest_weekly"]["raw"] == ["promotion_calendar"]
    daily = [
        "campaign_events",
        "feedback",
        "interactions",
        "inventory",
        "items",
        "promotions",
        "reviews",
        "user_aliases",
        "users",
    ]
    assert jobs["ingest"]["raw"] == jobs["nightly"]["raw"] == daily
    assert jobs["weekly_training"]["raw"] == jobs["weekly_predictions"]["raw"] == []
    starts, ends = (
        dt.date.fromisoformat(jobs[name]["last"]) for name in ("ingest_weekly", "weekly_training")
    )
    assert starts - ends == dt.timedelta(days=21)
