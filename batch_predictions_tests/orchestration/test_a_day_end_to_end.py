"""One small shop, from files to lookups, through the commands that people type."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_predictions.tables import COSTS
from batch_predictions_tests.worlds.contract import contract_violations
from batch_predictions_tests.worlds.dagster_pages import CHROMIUM, browser_pages, running_dagster
from batch_predictions_tests.worlds.retail_fixtures import (
    environment,
    run_command,
    run_json,
    unseen_items,
    write_shop,
)

pytestmark = pytest.mark.slow

# A Sunday, long past: the newest complete day does not depend on today.
LAST = dt.date(2024, 3, 17)


@dataclass
class Shop:
    home: Path
    source: Path
    cwd: Path

    @property
    def env(self) -> dict[str, str]:
        # A ranker of 24 users beats no generator, and its training takes half of a run's time.
        off = {"BATCH_PREDICTIONS_RECOMMENDER__TWO_STAGE": "false"}
        return environment(self.home, self.source, **off)

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Rows of a query over the analysts' views."""
        with duckdb.connect(str(self.home / "warehouse.duckdb"), read_only=True) as db:
            return db.execute(sql).fetchall()

    def hashes(self) -> dict[str, str]:
        """Every partition's bytes."""
        root = self.home / "warehouse"
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("data.parquet"))
            # Costs are measured: no run has those of another.
            if COSTS.name not in path.parts
        }


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop of 28 days that was run once; tests below build on each other's days."""
    root = tmp_path_factory.mktemp("shop")
    new_shop = Shop(root / "home", root / "source", root)
    write_shop(new_shop.source, days=28, last=LAST)
    summary = run_json("run", "--from", "2024-03-16", env=new_shop.env, cwd=root)
    assert summary["first_day"] == "2024-03-16" and summary["last_day"] == "2024-03-17"
    assert len(summary["ingested"]) == 28 and summary["release_id"].startswith("2024-03-17-")
    # On Saturday the week due is the one before, on Sunday the one that ends with it.
    assert {training["effective_from"] for training in summary["trained"]} == {
        "2024-03-10",
        "2024-03-17",
    }
    yield new_shop


def test_every_user_gets_the_unseen_items_of_their_colour(shop: Shop) -> None:
    rows = shop.query(
        "select user_id, list(item_id) from predictions.recommendations "
        "where date = '2024-03-17' and rank <= 2 group by 1"
    )
    assert {user: set(items) for user, items in rows} == {  # type: ignore[call-overload]
        f"u{n:02d}": unseen_items(n) for n in range(24)
    }


def test_the_contract_check_finds_no_violation(shop: Shop) -> None:
    assert contract_violations(shop.home) == []


def test_what_a_run_writes_is_for_its_owner_alone(shop: Shop) -> None:
    paths = [shop.home, *shop.home.rglob("*")]
    assert [path for path in paths if path.stat().st_mode & 0o077] == []


def test_a_lookup_says_whether_it_is_personal_demographic_or_popular(shop: Shop) -> None:
    def look(*words: str) -> dict[str, object]:
        answer = run_json("lookup", "recommendations", *words, env=shop.env, cwd=shop.cwd)
        assert answer["items"] and answer["as_of"] == "2024-03-17"
        return dict(answer)

    assert look("u03")["source"] == "personal"
    young = look("nobody-yet", "--age-bracket", "19-24")
    assert young["source"] == "demographic"
    assert {item["item_id"][:3] for item in young["items"][:3]} == {"red"}  # type: ignore[index]
    assert look("nobody-yet")["source"] == "popular"


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_person_materializes_a_partition_in_the_browser(shop: Shop, tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="playwright is not installed")
    # The daemon's sensors would change the home that the tests below count on.
    seen = Shop(tmp_path / "home", shop.source, tmp_path)
    shutil.copytree(shop.home, seen.home)
    hashes, asset = seen.hashes(), "predictions/recommendations"
    partition = seen.home / "warehouse" / asset / "date=2024-03-17" / "data.parquet"
    partition.unlink()
    with running_dagster(seen.env, seen.cwd) as url, browser_pages(url) as pages:
        pages.open_lineage()
        assert pages.materialize(asset, "2024-03-17") == "Success"
        assert min(pages.open_plot(asset)) > 100
        pages.open(f"/assets/{asset}", "computed_from")
        pages.open(f"/assets/{asset}", "model_training_run")
        pages.open("/automation", "nightly")
        for sensor in ("next_job", "new_files", "freshness"):
            pages.page.get_by_text(sensor, exact=True).first.wait_for()
        assert pages.errors == []
    assert seen.hashes() == hashes


def test_a_second_run_of_a_day_gives_the_same_bytes_without_training(shop: Shop) -> None:
    hashes_before = shop.hashes()
    summary = run_json("run", "--force", "--from", "2024-03-16", env=shop.env, cwd=shop.cwd)
    assert summary["ingested"] == [] and summary["trained"] == []
    assert shop.hashes() == hashes_before


def test_a_run_is_skipped_only_where_nothing_is_new(shop: Shop) -> None:
    again = ("run", "--from", "2024-03-16")
    assert run_json(*again, env=shop.env, cwd=shop.cwd)["unchanged"]
    text = run_command(*again, env=shop.env, cwd=shop.cwd).stdout
    assert text.startswith("Nothing is new: 2024-03-16 to 2024-03-17 is predicted")
    newest = run_json("run", env=shop.env, cwd=shop.cwd)
    assert newest["unchanged"] and newest["first_day"] == newest["last_day"] == "2024-03-17"
    earlier = ("run", "--from", "2024-03-15", "--dry-run")
    assert run_json(*earlier, env=shop.env, cwd=shop.cwd) != []
    # A partition that was removed is computed again.
    partition = shop.home / "warehouse" / "predictions" / "recommendations" / "date=2024-03-16"
    rows = (partition / "data.parquet").read_bytes()
    (partition / "data.parquet").unlink()
    assert not run_json(*again, env=shop.env, cwd=shop.cwd)["unchanged"]
    assert (partition / "data.parquet").read_bytes() == rows
    # Other settings may give other results.
    env = shop.env | {"BATCH_PREDICTIONS_FALLBACK__K": "19"}
    assert not run_json(*again, env=env, cwd=shop.cwd)["unchanged"]
    assert not run_json(*again, env=shop.env, cwd=shop.cwd)["unchanged"]


def test_a_run_heals_damaged_files(shop: Shop) -> None:
    hashes = shop.hashes()
    warehouse = shop.home / "warehouse"
    raw_row = "raw/interactions/date=2024-02-25/data.parquet"
    feature = "features/user_activity/date=2024-03-16/data.parquet"
    prediction = "predictions/recommendations/date=2024-03-17/data.parquet"
    weekly_log = next(warehouse.glob("evaluation/promotions_log/**/data.parquet"))
    for name in (raw_row, feature, prediction, str(weekly_log.relative_to(warehouse))):
        content = (warehouse / name).read_bytes()
        (warehouse / name).write_bytes(content[: len(content) // 2])
    [manifest, *_] = sorted((shop.home / "models" / "churn" / "versions").glob("*/manifest.json"))
    version = manifest.parent
    [model_file, *_] = [path for path in version.iterdir() if path != manifest]
    model_file.write_bytes(bytes(64) + model_file.read_bytes()[64:])
    process = run_command("run", "--from", "2024-03-17", "--json", env=shop.env, cwd=shop.cwd)
    for name in (raw_row, feature, prediction):
        assert f"{warehouse / name}: cannot be read (" in process.stderr
        assert (shop.home / "damaged" / "warehouse" / name).exists()
    repaired = "\n".join(json.loads(process.stdout)["repaired"])
    assert "features/user_activity of 2024-03-16 made again" in repaired
    assert "raw rows of 2024-02-25 read again" in repaired
    assert shop.hashes() == hashes
    # The damaged model serves no day of that run; it is trained again by a run of its days.
    summary = run_json("run", "--force", "--from", "2024-03-16", env=shop.env, cwd=shop.cwd)
    assert f"{version.name} was damaged and is moved aside" in summary["repaired"]
    assert shop.hashes() == hashes
    assert run_json("run", "--from", "2024-03-16", env=shop.env, cwd=shop.cwd)["repaired"] == []


def test_the_doctor_finds_what_only_reading_finds(shop: Shop) -> None:
    report = run_json("doctor", env=shop.env, cwd=shop.cwd)
    assert report["damaged"] == report["moved"] == []
    hashes = shop.hashes()
    rows = shop.home / "warehouse/predictions/recommendations/date=2024-03-16/data.parquet"
    content = rows.read_bytes()
    rows.write_bytes(content[:100] + bytes(200) + content[300:])
    decision = next((shop.home / "models" / "churn" / "decisions").glob("2024-03-10.training.json"))
    decision.write_text("{")
    log = shop.home / "ingests" / "interactions.json"
    log.write_text("{")
    store = shop.home / "serving.sqlite"
    store.write_bytes(store.read_bytes()[:4096] + bytes(8192))
    found = run_command("doctor", env=shop.env, cwd=shop.cwd, check=False)
    assert found.returncode == 1
    for path in (rows, decision, log, store):
        assert f"damaged  {path}: " in found.stdout
    repaired = run_command("doctor", "--repair", env=shop.env, cwd=shop.cwd)
    assert "4 files were moved: `batch-predictions run` makes them again" in repaired.stdout
    summary = run_json("run", "--from", "2024-03-16", env=shop.env, cwd=shop.cwd)
    assert summary["release_id"].startswith("2024-03-17-")
    assert shop.hashes() == hashes
    report = run_json("doctor", env=shop.env, cwd=shop.cwd)
    assert report["damaged"] == report["moved"] == []


def test_another_home_with_wildcards_in_its_name_and_its_sources_gives_the_same_predictions(
    shop: Shop, tmp_path: Path
) -> None:
    odd_shop = Shop(tmp_path / "we[i]rd *ho'me", tmp_path / "so[u]rce %20 *?", tmp_path)
    write_shop(odd_shop.source, days=28, last=LAST)
    # A folder that the home's name fits if it is taken as a pattern.
    (tmp_path / "weird ho'me" / "warehouse").mkdir(parents=True)
    summary = run_json("run", "--from", "2024-03-16", env=odd_shop.env, cwd=tmp_path)
    assert summary["release_id"].startswith("2024-03-17-")
    assert odd_shop.hashes() == shop.hashes()
    answer = run_json("lookup", "recommendations", "u03", env=odd_shop.env, cwd=tmp_path)
    assert answer["source"] == "personal"


def test_a_second_run_on_a_home_names_the_process_of_the_first(shop: Shop) -> None:
    first = subprocess.Popen(
        [sys.executable, "-m", "batch_predictions.cli", "run", "--force"],
        env=shop.env,
        cwd=shop.cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lock = shop.home / "run.lock"
    while first.poll() is None and str(first.pid) not in lock.read_text(encoding="utf-8"):
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # It holds the lock while the second starts.
    second = run_command("run", env=shop.env, cwd=shop.cwd, check=False)
    first.send_signal(signal.SIGCONT)
    _, errors = first.communicate()
    assert first.returncode == 0, errors
    assert second.returncode == 3
    assert f"process {first.pid}" in second.stderr and "batch-predictions run" in second.stderr


BLOCK_AT_RECOMMENDATIONS = """
import threading
from batch_predictions.cli import main
from batch_predictions.inference import shards

write_result = shards.write_result

def write_and_block(rows, path):
    write_result(rows, path)
    if "recommendations" in path.parts:
        print("blocked", flush=True)
        threading.Event().wait()

shards.write_result = write_and_block
main()
"""


def test_a_killed_run_leaves_the_old_release_and_the_next_run_equals_that_of_another_home(
    shop: Shop,
) -> None:
    answer = run_json("lookup", "recommendations", "u01", env=shop.env, cwd=shop.cwd)
    write_shop(shop.source, days=29, last=LAST + dt.timedelta(days=1))
    killed = subprocess.Popen(
        [sys.executable, "-c", BLOCK_AT_RECOMMENDATIONS, "run", "--date", "2024-03-18"],
        env=shop.env,
        cwd=shop.cwd,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killed.stdout and "blocked\n" in iter(killed.stdout.readline, "")
    killed.kill()
    killed.communicate()
    results = shop.home / "inference" / "recommendations" / "2024-03-18" / "results"
    assert list(results.glob("*.parquet"))
    still = run_json("lookup", "recommendations", "u01", env=shop.env, cwd=shop.cwd)
    assert still == answer

    summary = run_json("run", "--date", "2024-03-18", env=shop.env, cwd=shop.cwd)
    assert summary["release_id"].startswith("2024-03-18-")
    undisturbed = Shop(shop.cwd / "undisturbed", shop.source, shop.cwd)
    run_json("run", "--from", "2024-03-16", env=undisturbed.env, cwd=shop.cwd)
    # Of the days before, the first home has predictions that did not know the later day: what
    # happens later changes nothing.
    hashes, undisturbed_hashes = shop.hashes(), undisturbed.hashes()
    for table in ("predictions/recommendations", "features/user_activity"):
        for day in ("2024-03-16", "2024-03-17", "2024-03-18"):
            name = f"{table}/date={day}/data.parquet"
            assert hashes[name] == undisturbed_hashes[name], name


def test_a_run_lists_the_stale_partitions_after_a_correction(shop: Shop) -> None:
    path = shop.source / "interactions.parquet"
    rows = pq.read_table(path).to_pylist()
    rows.append(
        {"user_id": "u00", "item_id": "red-01", "date": dt.date(2024, 3, 15), "amount": 9.0}
    )
    pq.write_table(pa.Table.from_pylist(rows), path)
    summary = run_json("run", env=shop.env, cwd=shop.cwd)
    assert summary["corrected"] == ["2024-03-15"]
    assert summary["stale"]["predictions.recommendations"] == ["2024-03-16", "2024-03-17"]
    # Monday stands on the week that ended on Sunday, which has one more row now.
    assert {training["effective_from"] for training in summary["trained"]} == {"2024-03-17"}
    text = run_command("run", "--from", "2024-03-16", env=shop.env, cwd=shop.cwd).stdout
    assert "stale" not in text


def test_releases_can_be_listed_and_rolled_back(shop: Shop) -> None:
    stored = run_json("releases", "list", env=shop.env, cwd=shop.cwd)
    current = next(release for release in stored if release["current"])
    assert current["as_of"] == "2024-03-18"
    run_command("releases", "rollback", env=shop.env, cwd=shop.cwd)
    answer = run_json("lookup", "recommendations", "u01", env=shop.env, cwd=shop.cwd)
    assert answer["release_id"] != current["release_id"]


def test_models_can_be_listed_measured_and_rolled_back(shop: Shop) -> None:
    decisions = run_json("models", "list", env=shop.env, cwd=shop.cwd)
    models = {decision["model"] for decision in decisions}
    assert models == {"recommender", "demographic", "churn", "demand"}
    metrics = run_json("models", "metrics", "recommender", env=shop.env, cwd=shop.cwd)
    assert {"popularity", "als", "ease"} <= {row["candidate"] for row in metrics}
    older = next(d["version"] for d in decisions if d["effective_from"] == "2024-03-10")
    model = next(d["model"] for d in decisions if d["version"] == older)
    words = ["models", "rollback", model, "--from", "2024-03-18", "--why", "a test", "--to", older]
    run_command(*words, env=shop.env, cwd=shop.cwd)
    log = shop.query(
        "select model_version, why from evaluation.promotions_log where decision = 'rolled_back'"
    )
    assert log == [(older, "a test")]


def test_days_that_cannot_be_predicted_are_refused_in_words(shop: Shop) -> None:
    past = run_command("run", "--date", "2024-02-20", env=shop.env, cwd=shop.cwd, check=False)
    assert past.returncode == 1 and "first training is possible" in past.stderr
    future = (dt.date.today() + dt.timedelta(days=3)).isoformat()
    future_run = run_command("run", "--date", future, env=shop.env, cwd=shop.cwd, check=False)
    assert future_run.returncode == 1 and "is not over" in future_run.stderr


def test_commands_explain_themselves(shop: Shop) -> None:
    text = run_command("--help", env=shop.env, cwd=shop.cwd).stdout
    for name in ("init", "check-source", "run", "demo", "prune", "lookup", "releases", "models"):
        assert name in text
    run_command("init", "--path", str(shop.source), env=shop.env, cwd=shop.cwd)
    second = run_command("init", env=shop.env, cwd=shop.cwd, check=False)
    assert second.returncode == 2 and "--force" in second.stderr
    report = run_json("check-source", env=shop.env, cwd=shop.cwd)
    assert json.dumps(report)
