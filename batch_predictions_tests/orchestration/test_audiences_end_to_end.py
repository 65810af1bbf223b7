"""Audiences by commands: run, add a campaign, export and record a list, look up, run again."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.lookup.user_lookup import churn, churn_lines, promotions, retention
from batch_predictions_tests.worlds.contract import contract_violations
from batch_predictions_tests.worlds.customers import interactions, visits
from batch_predictions_tests.worlds.retail_fixtures import environment, run_command, run_json

pytestmark = pytest.mark.slow

DAY, NEXT_DAY = "2024-02-25", "2024-02-26"
CAMPAIGN_DAYS = ("--starts", "2024-02-20", "--ends", "2024-03-31")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Path]:
    """Eight weeks of customers, of which some stop buying, without users, items or campaigns.

    Returns the environment of commands, and the folder of source and home.
    """
    root = tmp_path_factory.mktemp("audiences")
    (root / "source").mkdir()
    rows = interactions(visits(72, days=60)).drop_columns(["event_id", "location", "occurred_at"])
    pq.write_table(rows, root / "source" / "interactions.parquet")
    env = environment(
        root / "home",
        root / "source",
        BATCH_PREDICTIONS_RECOMMENDER__TWO_STAGE="false",
        BATCH_PREDICTIONS_CHURN__HORIZON_DAYS="7",
        BATCH_PREDICTIONS_AUDIENCES__MIN_INACTIVE_DAYS="5",
        BATCH_PREDICTIONS_AUDIENCES__BUDGET="10",
    )
    summary = run_json("run", "--date", DAY, env=env, cwd=root)
    assert summary["rows"]["churn_scores"] > 40
    assert 10 <= summary["rows"]["retention_audience"] < 20
    assert summary["rows"]["promotion_audience"] == 0
    return env, root


def test_a_campaign_is_added_by_command_and_its_audience_is_looked_up(
    shop: tuple[dict[str, str], Path],
) -> None:
    env, root = shop
    add_campaign = ("audiences", "add-campaign")
    added = run_command(
        *add_campaign, "spring", "--items", "i1,i2", *CAMPAIGN_DAYS, env=env, cwd=root
    ).stdout
    assert "spring: 2 items" in added
    refused = run_command(
        *add_campaign, "x", "--items", "i1,nothing", *CAMPAIGN_DAYS, env=env, cwd=root, check=False
    )
    assert refused.returncode == 1 and "unknown items: nothing" in refused.stderr
    export = run_command("audiences", "export", "retention", "--mark-listed", env=env, cwd=root)
    exported = [row["user_id"] for row in csv.DictReader(io.StringIO(export.stdout))]
    assert len(exported) == 10 and "10 recorded as listed" in export.stderr
    summary = run_json("run", "--date", NEXT_DAY, env=env, cwd=root)
    assert summary["rows"]["promotion_audience"] > 10
    audience = run_json("lookup", "promotions", "spring", "--limit", "5", env=env, cwd=root)
    assert audience["as_of"] == NEXT_DAY and len(audience["rows"]) == 5
    first = audience["rows"][0]
    assert first["rank"] == 1 and set(first["item_ids"]) <= {"i1", "i2"}
    text = run_command("lookup", "churn", first["user_id"], env=env, cwd=root).stdout
    assert "churn probability" in text
    with Lookup(f"sqlite:///{root / 'home' / 'serving.sqlite'}") as lookup:
        campaigns = promotions(lookup, user_id=first["user_id"])
        assert [row["campaign_id"] for row in campaigns["rows"]] == ["spring"]
        next_audience = {row["user_id"] for row in retention(lookup)["rows"]}
        assert next_audience and not next_audience & set(exported)
        answer = churn(lookup, first["user_id"])
        assert 0 < answer["churn"]["churn_probability"] < 1
        assert "not an active customer" in next(churn_lines(churn(lookup, "nobody")))


def test_the_home_keeps_the_contract(shop: tuple[dict[str, str], Path]) -> None:
    tables = ["predictions.churn_scores", "predictions.retention_audience"]
    violations = contract_violations(shop[1] / "home", *tables)
    # This source has neither users nor items.
    assert all("raw.users" in line or "raw.items" in line for line in violations), violations
