"""Audiences by command: run, add a campaign, export, record, look up, run again."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.lookup.audiences import churn, churn_lines, promotions, retention
from batch_predictions_tests.worlds.customers import interactions, visits
from batch_predictions_tests.worlds.paths import CONTRACT
from batch_predictions_tests.worlds.retail_fixtures import as_json, command, environment

LAST, DAY_AFTER = "2024-02-25", "2024-02-26"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], Path]]:
    """Eight weeks of customers, some of whom fade, without users, items or campaigns."""
    root = tmp_path_factory.mktemp("audiences")
    (root / "source").mkdir()
    rows = interactions(visits(72, days=60)).drop_columns(["event_id", "location", "occurred_at"])
    pq.write_table(rows, root / "source" / "interactions.parquet")
    env = environment(
        root / "home",
        root / "source",
        BATCH_PREDICTIONS_RECOMMENDER__TWO_STAGE="false",
        BATCH_PREDICTIONS_CHURN__HORIZON_DAYS="7",
        BATCH_PREDICTIONS_CHURN__STEP_DAYS="3",
        BATCH_PREDICTIONS_CHURN__MIN_CHURNED="3",
        BATCH_PREDICTIONS_AUDIENCES__MIN_INACTIVE_DAYS="5",
        BATCH_PREDICTIONS_AUDIENCES__BUDGET="10",
    )
    summary = as_json("run", "--date", LAST, env=env, cwd=root)
    assert summary["rows"]["churn_scores"] > 40
    assert 10 <= summary["rows"]["retention_audience"] < 20
    assert summary["rows"]["promotion_audience"] == 0
    yield env, root


def test_a_campaign_of_ones_own_goes_from_a_command_to_a_lookup(
    shop: tuple[dict[str, str], Path],
) -> None:
    env, root = shop
    words = ["--items", "i1,i2", "--starts", "2024-02-20", "--ends", "2024-03-31"]
    said = command("audiences", "add-campaign", "spring", *words, env=env, cwd=root).stdout
    assert "spring: 2 items" in said
    bad = command(
        "audiences", "add-campaign", "x", "--items", "i1,nothing", "--starts", "2024-02-20",
        "--ends", "2024-03-31", env=env, cwd=root, check=False,
    )  # fmt: skip
    assert bad.returncode == 1 and "nobody knows: nothing" in bad.stderr
    sent = command("audiences", "export", "retention", "--mark-listed", env=env, cwd=root)
    contacted = [row["user_id"] for row in csv.DictReader(io.StringIO(sent.stdout))]
    assert len(contacted) == 10 and "10 recorded as listed" in sent.stderr
    summary = as_json("run", "--date", DAY_AFTER, env=env, cwd=root)
    assert summary["rows"]["promotion_audience"] > 10
    audience = as_json("lookup", "promotions", "spring", "--limit", "5", env=env, cwd=root)
    assert audience["as_of"] == DAY_AFTER and len(audience["rows"]) == 5
    first = audience["rows"][0]
    assert first["rank"] == 1 and set(first["item_ids"]) <= {"i1", "i2"}
    text = command("lookup", "churn", first["user_id"], env=env, cwd=root).stdout
    assert "likely to stay away" in text
    with Lookup(f"sqlite:///{root / 'home' / 'serving.sqlite'}") as lookup:
        own = promotions(lookup, user_id=first["user_id"])
        assert [row["campaign_id"] for row in own["rows"]] == ["spring"]
        listed = {row["user_id"] for row in retention(lookup)["rows"]}
        assert listed and not listed & set(contacted)
        known = churn(lookup, first["user_id"])
        assert 0 < known["churn"]["churn_probability"] < 1
        assert "not an active customer" in next(churn_lines(churn(lookup, "nobody")))


def test_the_outside_contract_finds_nothing_broken(shop: tuple[dict[str, str], Path]) -> None:
    if not CONTRACT.exists():
        pytest.skip(f"{CONTRACT} is not beside this checkout")
    tables = ["predictions.churn_scores", "predictions.retention_audience"]
    done = subprocess.run(
        [sys.executable, str(CONTRACT), str(shop[1] / "home"), "--require", *tables],
        capture_output=True,
        text=True,
    )
    broken = [line for line in done.stdout.splitlines() if line.startswith("BROKEN")]
    # This source has neither users nor items.
    assert all("raw.users" in line or "raw.items" in line for line in broken), done.stdout
