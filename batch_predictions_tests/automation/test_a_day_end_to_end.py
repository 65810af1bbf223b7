"""One small shop, from files to lookups, through the commands that people type."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
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

from batch_predictions_tests.worlds.paths import CONTRACT
from batch_predictions_tests.worlds.retail_fixtures import (
    as_json,
    command,
    environment,
    unseen,
    write_shop,
)

# A Sunday, long past: the newest complete day does not depend on today.
LAST = dt.date(2024, 3, 17)


@dataclass
class Shop:
    home: Path
    source: Path
    cwd: Path

    @property
    def env(self) -> dict[str, str]:
        return environment(self.home, self.source)

    def ask(self, sql: str) -> list[tuple[object, ...]]:
        """Rows of a query over the analysts' views."""
        with duckdb.connect(str(self.home / "warehouse.duckdb"), read_only=True) as db:
            return db.execute(sql).fetchall()

    def hashes(self) -> dict[str, str]:
        """Every partition's bytes."""
        root = self.home / "warehouse"
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("data.parquet"))
        }


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop of 28 days that was run once; tests below build on each other's days."""
    root = tmp_path_factory.mktemp("shop")
    made = Shop(root / "home", root / "source", root)
    write_shop(made.source, days=28, last=LAST)
    summary = as_json("run", "--from", "2024-03-16", env=made.env, cwd=root)
    assert summary["first_day"] == "2024-03-16" and summary["last_day"] == "2024-03-17"
    assert len(summary["ingested"]) == 28 and summary["release_id"].startswith("2024-03-17-")
    # On Saturday the week due is the one before, on Sunday the one that ends with it.
    assert {each["effective_from"] for each in summary["trained"]} == {"2024-03-10", "2024-03-17"}
    yield made


def test_every_user_is_offered_the_items_of_their_colour_that_they_had_not(shop: Shop) -> None:
    rows = shop.ask(
        "select user_id, list(item_id) from predictions.recommendations "
        "where date = '2024-03-17' and rank <= 2 group by 1"
    )
    assert {user: set(items) for user, items in rows} == {  # type: ignore[call-overload]
        f"u{n:02d}": unseen(n) for n in range(24)
    }


def test_the_outside_contract_finds_nothing_broken(shop: Shop) -> None:
    if not CONTRACT.exists():
        pytest.skip(f"{CONTRACT} is not beside this checkout")
    done = subprocess.run(
        [sys.executable, str(CONTRACT), str(shop.home)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_a_lookup_says_whether_it_is_personal_demographic_or_popular(shop: Shop) -> None:
    def look(*words: str) -> dict[str, object]:
        answer = as_json("lookup", "recommendations", *words, env=shop.env, cwd=shop.cwd)
        assert answer["items"] and answer["as_of"] == "2024-03-17"
        return dict(answer)

    assert look("u03")["source"] == "personal"
    young = look("nobody-yet", "--age-bracket", "19-24")
    assert young["source"] == "demographic"
    assert {item["item_id"][:3] for item in young["items"][:3]} == {"red"}  # type: ignore[index]
    assert look("nobody-yet")["source"] == "popular"


def test_the_same_day_run_again_gives_the_same_bytes_and_trains_nothing(shop: Shop) -> None:
    before = shop.hashes()
    summary = as_json("run", "--from", "2024-03-16", env=shop.env, cwd=shop.cwd)
    assert summary["ingested"] == [] and summary["trained"] == []
    assert shop.hashes() == before


def test_a_home_of_its_own_gives_the_same_predictions(shop: Shop, tmp_path: Path) -> None:
    other = Shop(tmp_path / "other", shop.source, tmp_path)
    as_json("run", "--from", "2024-03-16", env=other.env, cwd=tmp_path)
    assert other.hashes() == shop.hashes()


def test_two_runs_on_one_home_the_second_says_who_holds_it(shop: Shop) -> None:
    first = subprocess.Popen(
        [sys.executable, "-m", "batch_predictions.cli", "run"],
        env=shop.env,
        cwd=shop.cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lock = shop.home / "run.lock"
    while first.poll() is None and str(first.pid) not in lock.read_text(encoding="utf-8"):
        time.sleep(0.01)
    second = command("run", env=shop.env, cwd=shop.cwd, check=False)
    _, errors = first.communicate()
    assert first.returncode == 0, errors
    assert second.returncode == 1
    assert f"process {first.pid}" in second.stderr and "batch-predictions run" in second.stderr


def test_a_run_that_is_killed_leaves_the_old_release_and_the_next_one_goes_on(shop: Shop) -> None:
    answer = as_json("lookup", "recommendations", "u01", env=shop.env, cwd=shop.cwd)
    write_shop(shop.source, days=29, last=LAST + dt.timedelta(days=1))
    killed = subprocess.Popen(
        [sys.executable, "-m", "batch_predictions.cli", "run", "--date", "2024-03-18"],
        env=shop.env,
        cwd=shop.cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    results = shop.home / "inference" / "recommendations" / "2024-03-18" / "results"
    while killed.poll() is None and not list(results.glob("*.parquet")):
        time.sleep(0.005)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    still = as_json("lookup", "recommendations", "u01", env=shop.env, cwd=shop.cwd)
    assert still == answer

    summary = as_json("run", "--date", "2024-03-18", env=shop.env, cwd=shop.cwd)
    assert summary["release_id"].startswith("2024-03-18-")
    undisturbed = Shop(shop.cwd / "undisturbed", shop.source, shop.cwd)
    as_json("run", "--from", "2024-03-16", env=undisturbed.env, cwd=shop.cwd)
    table = "predictions/recommendations/date=2024-03-18/data.parquet"
    assert shop.hashes()[table] == undisturbed.hashes()[table]


def test_a_later_day_does_not_change_what_was_predicted_before_it(shop: Shop) -> None:
    """The shop has grown by a day since; the days before were predicted again by nobody, and a
    home that knows the later day from the start predicts them alike."""
    late = Shop(shop.cwd / "late", shop.source, shop.cwd)
    as_json("run", "--from", "2024-03-16", "--date", "2024-03-17", env=late.env, cwd=shop.cwd)
    mine, theirs = shop.hashes(), late.hashes()
    for table in ("predictions/recommendations", "features/user_activity"):
        for day in ("2024-03-16", "2024-03-17"):
            name = f"{table}/date={day}/data.parquet"
            assert mine[name] == theirs[name], name


def test_a_corrected_day_names_what_has_become_stale(shop: Shop) -> None:
    path = shop.source / "interactions.parquet"
    rows = pq.read_table(path).to_pylist()
    rows.append(
        {"user_id": "u00", "item_id": "red-01", "date": dt.date(2024, 3, 15), "amount": 9.0}
    )
    pq.write_table(pa.Table.from_pylist(rows), path)
    summary = as_json("run", env=shop.env, cwd=shop.cwd)
    assert summary["corrected"] == ["2024-03-15"]
    assert summary["stale"]["predictions.recommendations"] == ["2024-03-16", "2024-03-17"]
    # Monday stands on the week that ended on Sunday, which has one more row now.
    assert {each["effective_from"] for each in summary["trained"]} == {"2024-03-17"}
    text = command("run", "--from", "2024-03-16", env=shop.env, cwd=shop.cwd).stdout
    assert "stale" not in text


def test_releases_can_be_listed_and_rolled_back(shop: Shop) -> None:
    kept = as_json("releases", "list", env=shop.env, cwd=shop.cwd)
    current = next(each for each in kept if each["current"])
    assert current["as_of"] == "2024-03-18"
    command("releases", "rollback", env=shop.env, cwd=shop.cwd)
    answer = as_json("lookup", "recommendations", "u01", env=shop.env, cwd=shop.cwd)
    assert answer["release_id"] != current["release_id"]


def test_models_can_be_listed_measured_and_rolled_back(shop: Shop) -> None:
    decisions = as_json("models", "list", env=shop.env, cwd=shop.cwd)
    models = {each["model"] for each in decisions}
    assert models == {"recommender", "demographic", "churn", "demand"}
    metrics = as_json("models", "metrics", "recommender", env=shop.env, cwd=shop.cwd)
    assert {"popularity", "als", "ease"} <= {each["candidate"] for each in metrics}
    older = next(each["version"] for each in decisions if each["effective_from"] == "2024-03-10")
    model = next(each["model"] for each in decisions if each["version"] == older)
    words = ["models", "rollback", model, "--from", "2024-03-18", "--why", "a test", "--to", older]
    command(*words, env=shop.env, cwd=shop.cwd)
    log = shop.ask(
        "select model_version, why from evaluation.promotions_log where decision = 'rolled_back'"
    )
    assert log == [(older, "a test")]


def test_days_that_cannot_be_predicted_are_refused_in_words(shop: Shop) -> None:
    early = command("run", "--date", "2024-02-20", env=shop.env, cwd=shop.cwd, check=False)
    assert early.returncode == 1 and "first training is possible" in early.stderr
    future = (dt.date.today() + dt.timedelta(days=3)).isoformat()
    ahead = command("run", "--date", future, env=shop.env, cwd=shop.cwd, check=False)
    assert ahead.returncode == 1 and "is not over" in ahead.stderr


def test_commands_explain_themselves(shop: Shop) -> None:
    text = command("--help", env=shop.env, cwd=shop.cwd).stdout
    for name in ("init", "check-source", "run", "demo", "lookup", "releases", "models"):
        assert name in text
    command("init", "--path", str(shop.source), env=shop.env, cwd=shop.cwd)
    again = command("init", env=shop.env, cwd=shop.cwd, check=False)
    assert again.returncode == 1 and "--force" in again.stderr
    report = as_json("check-source", env=shop.env, cwd=shop.cwd)
    assert json.dumps(report)
