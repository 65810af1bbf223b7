"""A shop whose home is in a bucket: nights on machines that share no folder, and what people type.

The same shop with a home in a folder says what the rows are.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from batch_predictions.core.home_bucket import CACHE_VARIABLE, working_folder
from batch_predictions.settings import Settings
from batch_predictions.tables import COSTS, TABLES
from batch_predictions.warehouse import Warehouse, WarehouseError
from batch_predictions_tests.worlds.bucket import bucket_server
from batch_predictions_tests.worlds.contract import contract_violations
from batch_predictions_tests.worlds.postgres import empty_postgres, require_dagster_postgres
from batch_predictions_tests.worlds.retail_fixtures import (
    environment,
    run_command,
    run_json,
    write_shop,
)

pytestmark = pytest.mark.slow

LAST = dt.date(2024, 3, 17)
OFF = {"BATCH_PREDICTIONS_RECOMMENDER__TWO_STAGE": "false"}
INSTANCE = {"storage": {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}}


@dataclass(frozen=True)
class Shop:
    """The shop's folder, the URL of its home, and its PostgreSQL."""

    folder: Path
    url: str
    database: str

    def machine(self, name: str, **more: str) -> dict[str, str]:
        """The environment of a machine that has nothing of the others."""
        dagster = sa.make_url(self.database).set(drivername="postgresql+psycopg2")
        variables = environment(Path(self.url), self.folder / "source", **OFF, **more)
        return variables | {
            "BATCH_PREDICTIONS_HOME": self.url,
            CACHE_VARIABLE: str(self.folder / name),
            "BATCH_PREDICTIONS_SERVING__URL": self.database,
            "BATCH_PREDICTIONS_EXECUTION__INSTANCE": json.dumps(INSTANCE),
            "DAGSTER_POSTGRES_URL": dagster.render_as_string(hide_password=False),
        }

    def rows(self, home: Path) -> dict[str, object]:
        """All rows of a home but what was measured."""
        warehouse = Warehouse.of(Settings(home=home))
        warehouse.refresh()
        names = [name for name in TABLES if name != COSTS.qualified]
        return {name: warehouse.query(f"from {name} order by all").to_pylist() for name in names}

    def home_on(self, name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The folder of the home's copies on a machine."""
        monkeypatch.setenv(CACHE_VARIABLE, str(self.folder / name))
        return working_folder(self.url)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop, after a first run of two days by the machine `a`."""
    database = empty_postgres()
    require_dagster_postgres()
    with bucket_server() as new_home:
        made = Shop(tmp_path_factory.mktemp("shop"), new_home().url, database)
        write_shop(made.folder / "source", days=28, last=LAST - dt.timedelta(days=1))
        summary = run_json("run", "--from", "2024-03-15", env=made.machine("a"), cwd=made.folder)
        assert summary["last_day"] == "2024-03-16" and len(summary["ingested"]) == 28
        yield made


def test_the_rows_are_those_of_a_folder(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    local = environment(shop.folder / "local", shop.folder / "source", **OFF)
    run_json("run", "--from", "2024-03-15", env=local, cwd=shop.folder)
    expected = shop.rows(shop.folder / "local")
    assert expected["predictions.recommendations"]
    assert shop.rows(shop.home_on("a", monkeypatch)) == expected


def test_another_machine_has_nothing_to_do(shop: Shop) -> None:
    again = run_json("run", "--from", "2024-03-15", env=shop.machine("b"), cwd=shop.folder)
    assert again["unchanged"] is True
    found = run_json("lookup", "recommendations", "u03", env=shop.machine("c"), cwd=shop.folder)
    assert found["source"] == "personal" and len(found["items"]) == 5


def test_the_next_night_runs_on_another_machine(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shop(shop.folder / "source", days=29, last=LAST)
    night = run_json("run", env=shop.machine("b"), cwd=shop.folder)
    assert night["ingested"] == ["2024-03-17"] and night["release_id"].startswith("2024-03-17")
    # It is long past, which `status` takes for a problem.
    env = shop.machine("a")
    status = json.loads(
        run_command("status", "--json", env=env, cwd=shop.folder, check=False).stdout
    )
    assert status["home"] == shop.url and "2024-03-17" in str(status)
    rows = shop.rows(shop.home_on("a", monkeypatch))
    assert {row["date"] for row in rows["predictions.recommendations"]} >= {LAST}  # type: ignore[attr-defined]


def test_a_home_without_postgresql_is_refused_in_a_line(shop: Shop) -> None:
    env = shop.machine("a") | {"BATCH_PREDICTIONS_SERVING__URL": ""}
    refused = run_command("status", env=env, cwd=shop.folder, check=False)
    assert refused.returncode == 2
    [line] = refused.stderr.strip().splitlines()
    assert (
        f"home {shop.url} is in a bucket and needs PostgreSQL" in line
        and "execution.instance" in line
    )


def test_a_run_says_which_machine_holds_the_home(shop: Shop) -> None:
    code = (
        "import sys; from batch_predictions.core.home_lock import home_lock; "
        "from batch_predictions.settings import Settings; settings = Settings.load()\n"
        "with home_lock(settings.home, 'batch-predictions run'): print('held', flush=True); "
        "sys.stdin.read()"
    )
    command = [os.sys.executable, "-c", code]  # type: ignore[attr-defined]
    with subprocess.Popen(
        command, env=shop.machine("a"), cwd=shop.folder, stdin=-1, stdout=-1, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        with closing(holder.stdin):
            assert holder.stdout.readline() == "held\n"
            env = shop.machine("b")
            busy = run_command("run", env=env, cwd=shop.folder, check=False)
            assert busy.returncode == 3
            assert f"in use by batch-predictions run (process {holder.pid} on" in busy.stderr
            holder.kill()
    # The database releases the lock of a process that has died.
    assert run_command("run", env=shop.machine("b"), cwd=shop.folder).returncode == 0


def test_who_is_erased_is_gone_from_earlier_versions_and_other_machines(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = shop.home_on("a", monkeypatch)
    warehouse = Warehouse.of(Settings(home=home))
    warehouse.refresh()
    release = {"versions": warehouse.versions()}
    before = warehouse.at(release)
    assert before.value("select count(*) from raw.interactions where user_id = 'u05'")
    run_command("erase-user", "u05", env=shop.machine("b"), cwd=shop.folder)
    warehouse.refresh()
    assert not [path for path in (home / ".cache").rglob("*") if path.is_file()]
    for name in TABLES:
        assert "u05" not in str(warehouse.query(f"from {name}").to_pylist())
    with pytest.raises(WarehouseError, match="no version"):
        warehouse.at(release)
    assert run_json("run", env=shop.machine("a"), cwd=shop.folder)["release_id"]


def test_the_home_moves_to_a_folder(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    back = shop.folder / "back"
    run_command("move-home", str(back), env=shop.machine("b"), cwd=shop.folder)
    assert shop.rows(back) == shop.rows(shop.home_on("b", monkeypatch))
    assert contract_violations(back) == []
