"""A home that an earlier version wrote is read, served and continued."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from batch_predictions.core.home import HomeError, read_state, state_path
from batch_predictions.operations.health import examine
from batch_predictions.operations.status import read_status
from batch_predictions.orchestration.dagster_records import DagsterRecords
from batch_predictions.serving.lookup import Lookup
from batch_predictions.settings import Settings
from batch_predictions.tables import TABLES
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.programs import run_python

ARCHIVE = Path(__file__).parent / "worlds" / "home_0_1" / "home.tar.xz"


@pytest.fixture
def old_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return Settings.load(tmp_path / "home")


def test_it_is_whole_and_its_lookups_are_those_of_then(old_home: Settings) -> None:
    assert examine(old_home) == []
    warehouse = Warehouse.of(old_home)
    rows = {
        table.qualified: warehouse.value(f"select count(*) from {table.qualified}")
        for table in TABLES.values()
    }
    assert rows["raw.interactions"] == 374
    assert rows["predictions.recommendations"] == 232
    assert rows["predictions.demographic_recommendations"] == 135
    with Lookup(old_home) as lookup:
        answer = lookup.recommendations("u01")
        stranger = lookup.recommendations("stranger", age_bracket="25-34")
    assert answer["release_id"] == "2024-01-20-0036f4cd"
    assert [item["item_id"] for item in answer["items"][:3]] == ["i12", "i08", "i10"]
    assert answer["items"][0]["reason"] == "because_you_liked:i05"
    assert (stranger["source"], stranger["segment"]["age_bracket"]) == ("demographic", "25-34")
    status = read_status(old_home, DagsterRecords(old_home))
    assert status.models["recommender"] == "recommender-2024-01-14-73895aad"
    assert not [check for check in status.checks if check.severity == "ERROR"]


def test_a_run_has_only_the_new_day_to_do(old_home: Settings) -> None:
    command = ["-m", "batch_predictions.cli", "run", "--home", str(old_home.home)]
    planned = run_python(*command, "--date", "2024-01-21", "--dry-run").stdout.splitlines()
    ingests = [line for line in planned if line.startswith("ingest")]
    # Version 0.1 made no partitions of the weeks of a table that its source lacks.
    weeks = [line for line in ingests if "raw tables of weeks" in line]
    days = [line for line in ingests if line not in weeks]
    assert days and all(", 2024-01-21: missing" in line for line in days), days
    assert len(weeks) <= 1
    trainings = [line for line in planned if line.startswith("train")]
    assert trainings and all("not trained through 2024-01-21 yet" in line for line in trainings)


def test_a_home_of_another_schema_is_refused(old_home: Settings) -> None:
    path = state_path(old_home.home)
    path.write_text(path.read_text(encoding="utf-8").replace("version: 1", "version: 99"))
    with pytest.raises(HomeError, match="has schema version 99, this program has 1"):
        read_state(old_home.home)
