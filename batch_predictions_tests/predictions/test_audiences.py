"""Audiences of a planted world, by real runs: fading customers are found, limits are kept."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.predictions.audience_sql import hash_fraction_sql
from batch_predictions.predictions.churn import churn_scores
from batch_predictions.predictions.promotions import promotion_audience
from batch_predictions.predictions.retention import retention_audience
from batch_predictions.serving import exports
from batch_predictions.tables import ITEMS
from batch_predictions.warehouse import as_date
from batch_predictions_tests.worlds.audiences import (
    AUDIENCES,
    BUDGET,
    DAY,
    AudienceWorld,
    recommended_item,
)
from batch_predictions_tests.worlds.customers import (
    FADING,
    FIRST,
    LAST,
    STEADY,
    visits,
    write_raw_rows,
    write_visits,
)
from batch_predictions_tests.worlds.home import features_asset, model_asset

pytestmark = pytest.mark.slow

WEEK, NEXT_DAY = "2024-05-20", "2024-05-27"
CAMPAIGN_START, CAMPAIGN_END = dt.date(2024, 5, 20), dt.date(2024, 6, 30)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> AudienceWorld:
    world = AudienceWorld(tmp_path_factory.mktemp("audiences"))
    write_visits(world.warehouse, visits())
    for campaign, items, starts, ends in (
        ("one-item", ["i3"], CAMPAIGN_START, CAMPAIGN_END),
        ("threes", ["i0", "i3", "i6", "i9"], CAMPAIGN_START, CAMPAIGN_END),
        ("later", ["i1"], dt.date(2024, 6, 20), CAMPAIGN_END),
        ("over", ["i1"], FIRST, dt.date(2024, 5, 26)),
    ):
        exports.add_campaign(world.warehouse, campaign, items, starts, ends)
    world.materialize(model_asset("churn"), day=WEEK)
    world.predict(DAY)
    return world


def test_the_retention_audience_finds_fading_customers(world: AudienceWorld) -> None:
    audience = world.retention()
    assert len(audience) >= BUDGET
    is_fading = [row["user_id"].startswith(FADING) for row in audience]
    active = world.rows("select user_id from features.churn_history where date = $day")
    fading_share = np.mean([row["user_id"].startswith(FADING) for row in active])
    assert np.mean(is_fading) > 0.8 > 0.4 > fading_share
    scores = world.rows("select * from predictions.churn_scores where date = $day")
    assert {row["user_id"] for row in scores} == {row["user_id"] for row in active}
    steady = [r["churn_probability"] for r in scores if r["user_id"].startswith(STEADY)]
    assert np.mean(steady) < 0.1 and all(0 < row["churn_probability"] < 1 for row in scores)


def test_customers_are_ranked_by_expected_value_with_offers_and_reasons(
    world: AudienceWorld,
) -> None:
    audience = world.retention()
    values = [row["expected_value"] for row in audience]
    assert values == sorted(values, reverse=True)
    assert [row["rank"] for row in audience] == list(range(1, len(audience) + 1))
    for row in audience:
        expected = row["churn_probability"] * row["margin_at_risk"]
        assert row["expected_value"] == pytest.approx(expected)
        assert row["days_inactive"] >= 14 and row["churn_probability"] >= 0.2
        assert row["offer_item_ids"][0] == recommended_item(row["user_id"], 1)
        assert len(row["offer_item_ids"]) == 5
        assert f"no purchase for {row['days_inactive']} days; buys every " in row["reason"]
        assert f"churn probability {row['churn_probability']:.0%}" in row["reason"]


def test_the_budget_counts_customers_to_contact_and_all_others_have_a_reason(
    world: AudienceWorld,
) -> None:
    audience = world.retention()
    assert sum(not row["held_out"] for row in audience) == BUDGET
    assert any(row["held_out"] for row in audience) and not audience[-1]["held_out"]
    inactive = world.rows(
        "select user_id from predictions.churn_scores where date = $day and days_inactive >= 14"
    )
    exclusions = world.exclusions("retention_audience")
    assert len(exclusions) + len(audience) == len(inactive)
    assert any("below the budget of 25" in row["reason"] for row in exclusions)


def hash_fraction(salt: str, audience: str, user_id: str) -> float:
    """`hash_fraction_sql` in Python."""
    digest = hashlib.md5(f"{salt}|{audience}|{user_id}".encode(), usedforsecurity=False)
    return int(digest.hexdigest()[:8], 16) / 2**32


def test_the_holdout_is_a_hash_that_is_unrelated_to_customers_and_other_lists(
    world: AudienceWorld,
) -> None:
    users = [f"u{n}" for n in range(20_000)]
    fractions = np.array([hash_fraction("salt", "retention", user) for user in users])
    from_sql = world.warehouse.query(
        f"select {hash_fraction_sql(chr(39) + 'retention' + chr(39), 'user_id')} as fraction "
        "from (select unnest($users::VARCHAR[]) as user_id)",
        {"users": users, "holdout_salt": "salt"},
    )["fraction"].to_numpy()
    assert (from_sql == fractions).all() and fractions.min() >= 0 and fractions.max() < 1
    held_out = fractions < 0.1
    assert abs(held_out.mean() - 0.1) < 0.01
    # It depends neither on a customer's value nor on another list's or salt's holdout.
    values = np.random.default_rng(1).gamma(2, 3, len(users))
    assert abs(values[held_out].mean() - values[~held_out].mean()) < 0.3
    for salt, audience in (("salt", "campaign"), ("pepper", "retention")):
        also_held_out = np.array([hash_fraction(salt, audience, user) for user in users]) < 0.1
        assert abs(also_held_out[held_out].mean() - 0.1) < 0.03


def test_buyers_of_a_campaign_s_items_are_ranked_first_and_lists_have_only_its_items(
    world: AudienceWorld,
) -> None:
    audience = world.promotions()
    campaigns = {row["campaign_id"] for row in audience}
    assert campaigns == {"one-item", "threes"}, "only live campaigns, not later or ended ones"
    campaign_items = {"one-item": {"i3"}, "threes": {"i0", "i3", "i6", "i9"}}
    for campaign, items in campaign_items.items():
        rows = [row for row in audience if row["campaign_id"] == campaign]
        assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
        assert [row["score"] for row in rows] == sorted((r["score"] for r in rows), reverse=True)
        assert sum(not row["held_out"] for row in rows) == 20
        for row in rows:
            assert set(row["item_ids"]) <= items and row["item_ids"]
            assert row["kind"] == "ad_hoc"
        purchases = world.rows(
            "select distinct user_id from raw.interactions where date <= $day "
            f"and item_id in ({', '.join(map(repr, sorted(items)))})"
        )
        buyers = {row["user_id"] for row in purchases}
        assert all(row["own_items"] > 0 and row["user_id"] in buyers for row in rows[:10])


def test_no_customer_is_listed_for_more_campaigns_than_allowed(tmp_path: Path) -> None:
    world = AudienceWorld(tmp_path, campaigns_per_user=1)
    write_visits(world.warehouse, visits(60, days=150))
    for campaign in ("a", "b", "c"):
        items = ["i0", "i1", "i2"]
        exports.add_campaign(world.warehouse, campaign, items, CAMPAIGN_START, CAMPAIGN_END)
    exports.add_campaign(world.warehouse, "nobody", ["i5"], CAMPAIGN_START, CAMPAIGN_END)
    available = world.rows("select * from raw.items where item_id <> 'i5'")
    unavailable = {"item_id": "i5", "available": False}
    write_raw_rows(
        world.warehouse, ITEMS, [{**row, "attributes": None} for row in available] + [unavailable]
    )
    world.materialize(model_asset("churn"), day=WEEK)
    world.predict(DAY)
    users = [row["user_id"] for row in world.promotions()]
    assert len(users) == len(set(users)) > 0
    # The first of equal campaigns has all customers; one without available items has none.
    exclusions = world.exclusions("promotion_audience")
    assert [row["key"] for row in exclusions] == [r"b|\N", r"c|\N", r"nobody|\N"]
    assert all(row["reason"].startswith("no active customer") for row in exclusions)


def test_computing_a_day_again_gives_equal_bytes(world: AudienceWorld) -> None:
    folder = world.warehouse.folder / "predictions"

    def read_files() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in folder.rglob("data.parquet")}

    files_before = read_files()
    world.materialize(features_asset("churn_history"), day=DAY)
    world.materialize(*AUDIENCES, day=DAY)
    assert read_files() == files_before and len(files_before) >= 5


def test_listed_customers_are_not_listed_again_and_the_exported_day_stays_the_same(
    world: AudienceWorld,
) -> None:
    audience = world.retention()
    exported = exports.read_audience(world.warehouse, "retention", as_date(DAY))
    assert exported.num_rows == BUDGET and not any(exported["held_out"].to_pylist())
    for _ in range(2):
        assert exports.mark_listed(world.warehouse, "retention", exported) == BUDGET
    events = world.rows("select * from raw.campaign_events where event_type = 'listed'")
    assert len(events) == BUDGET and {row["campaign_id"] for row in events} == {"retention"}
    world.materialize(*AUDIENCES, day=DAY)
    assert world.retention() == audience
    world.predict(NEXT_DAY)
    listed_users = {row["user_id"] for row in events}
    next_audience = world.retention(NEXT_DAY)
    assert next_audience and not listed_users & {row["user_id"] for row in next_audience}
    exclusions = world.exclusions("retention_audience", NEXT_DAY)
    assert sum(f"listed on {DAY}" in row["reason"] for row in exclusions) > BUDGET / 2
    # Customers who are held out were not listed, and are held out again.
    held_out = {row["user_id"] for row in audience if row["held_out"]}
    held_out_next = {row["user_id"]: row["held_out"] for row in next_audience}
    assert all(held_out_next[user] for user in held_out & set(held_out_next))


def test_an_audience_is_exported_as_csv_and_errors_list_what_exists(world: AudienceWorld) -> None:
    audience = exports.read_audience(
        world.warehouse, "promotions", as_date(DAY), "threes", with_held_out=True
    )
    rows = list(csv.DictReader(io.StringIO(exports.to_csv(audience))))
    assert [row["rank"] for row in rows] == [str(n + 1) for n in range(len(rows))]
    assert {row["held_out"] for row in rows} == {"True", "False"}
    assert set(rows[0]["item_ids"].split()) <= {"i0", "i3", "i6", "i9"}
    for day, campaign, message in (
        (dt.date(2024, 5, 1), None, "available days: 2024-05-26"),
        (as_date(DAY), "unknown", "campaigns with one: one-item, threes"),
    ):
        with pytest.raises(exports.AudienceError, match=message):
            exports.read_audience(world.warehouse, "promotions", day, campaign)


def test_cells_of_a_csv_are_no_formulas_and_lists_can_be_split() -> None:
    rows = pa.table(
        {
            "user_id": ["=1+1", "+49 30", "-12.5", "@x", "a=b", "\tx", None],
            "score": [-1.5, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
            "item_ids": [["a b", "c"], ["[d"], ["e", "f"], [], ["-1"], ['"q"'], None],
            "plain": [["=a", "b"], ["c"], ["d", "e"], [], ["-1"], ["f"], None],
        }
    )
    read = list(csv.DictReader(io.StringIO(exports.to_csv(rows))))
    users = ["'=1+1", "'+49 30", "-12.5", "'@x", "a=b", "'\tx", ""]
    assert [row["user_id"] for row in read] == users
    assert [float(row["score"]) for row in read] == rows["score"].to_pylist()
    lists = [json.loads(row["item_ids"]) if row["item_ids"] else None for row in read]
    assert lists == rows["item_ids"].to_pylist()
    assert [row["plain"] for row in read] == ["'=a b", "c", "d e", "", "-1", "f", ""]


@pytest.mark.parametrize(
    ("name", "items", "days", "message"),
    [
        ("x", ["i1", "no-such"], (FIRST, LAST), "unknown items: no-such"),
        ("x", ["i1"], (LAST, FIRST), "before it starts"),
        ("x", [" "], (FIRST, LAST), "at least one item"),
        ("retention", ["i1"], (FIRST, LAST), "choose another"),
    ],
)
def test_an_invalid_campaign_is_refused(
    world: AudienceWorld,
    name: str,
    items: list[str],
    days: tuple[dt.date, dt.date],
    message: str,
) -> None:
    with pytest.raises(exports.AudienceError, match=message):
        exports.add_campaign(world.warehouse, name, items, *days)


def test_plots_are_drawn_for_days_with_rows(world: AudienceWorld) -> None:
    for prediction in (churn_scores, retention_audience, promotion_audience):
        assert prediction.plot is not None
        assert prediction.plot(world.warehouse, DAY) is not None
        assert prediction.plot(world.warehouse, "2024-01-05") is None


def test_every_user_has_a_churn_score_or_a_reason(world: AudienceWorld) -> None:
    users = world.rows(
        "select user_id from features.user_segments where date = $day except "
        "select user_id from predictions.churn_scores where date = $day order by user_id"
    )
    exclusions = world.exclusions("churn_scores")
    assert [row["key"] for row in exclusions] == [row["user_id"] for row in users] != []
    assert {row["reason"] for row in exclusions} == {
        "no purchase in the last 84 days (churn.active_days)"
    }


def test_without_history_all_customers_are_excluded_with_a_reason(tmp_path: Path) -> None:
    """A source without times: all rows are of one day."""
    world = AudienceWorld(tmp_path)
    day = (as_date(DAY) - FIRST).days
    write_visits(world.warehouse, [(f"u-{n:03d}", day) for n in range(30)])
    world.materialize(model_asset("churn"), day=WEEK)
    world.predict(DAY)
    exclusions = world.exclusions("churn_scores")
    assert len(exclusions) == 30
    assert all("no model was trained" in row["reason"] for row in exclusions)
    assert world.retention() == [] and world.promotions() == []
