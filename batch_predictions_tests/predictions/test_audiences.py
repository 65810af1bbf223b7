"""Audiences of a planted world, by real runs: the fading are found, rules and holdouts hold."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterator
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.home import State, write_state
from batch_predictions.inference.dagster.io_manager import JsonPathIOManager
from batch_predictions.model_store import ModelStore
from batch_predictions.predictions.churn import churn_scores
from batch_predictions.predictions.holdout import place, place_sql
from batch_predictions.predictions.promotions import promotion_audience
from batch_predictions.predictions.retention import retention_audience
from batch_predictions.serving import exports
from batch_predictions.settings import AudiencesSettings, Settings, SourceSettings
from batch_predictions.tables import (
    CAMPAIGN_EVENTS,
    INTERACTIONS,
    ITEM_SCORES,
    ITEMS,
    RECOMMENDATIONS,
    Table,
)
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions_tests.worlds.customers import (
    FADING,
    FIRST,
    LAST,
    STEADY,
    arrow_schema,
    put,
    visits,
    write_shop,
)
from batch_predictions_tests.worlds.home import features_asset, model_asset, prediction_asset

WEEK, DAY, NEXT = "2024-05-20", "2024-05-26", "2024-05-27"
BUDGET = 25


class World:
    """A home with customers of known hazards, and what is made of it."""

    def __init__(self, root: Any, **changed: Any) -> None:
        (root / "source").mkdir(parents=True)
        self.settings = Settings(
            home=root / "home",
            source=SourceSettings(kind="files", path=root / "source"),
            audiences=AudiencesSettings(
                **{"budget": BUDGET, "holdout_share": 0.25, "users_per_campaign": 20, **changed}
            ),
        )
        write_state(
            self.settings.home,
            State(source_kind="files", timezone="UTC", first_day=FIRST, default_date=FIRST),
        )
        self.warehouse = Warehouse.of(self.settings)

    def make(self, *assets: dg.AssetsDefinition, day: str) -> None:
        done = dg.materialize(
            list(assets),
            partition_key=day,
            resources={
                "settings": self.settings,
                "warehouse": self.warehouse,
                "models": ModelStore.of(self.settings),
                "handles": JsonPathIOManager(home=str(self.settings.home)),
            },
            instance=dg.DagsterInstance.ephemeral(),
        )
        assert done.success

    def predict(self, day: str) -> None:
        """A day's features, stand-ins for the recommender's tables, and the audiences."""
        self.make(
            features_asset("churn_features"),
            features_asset("item_state"),
            features_asset("item_activity"),
            features_asset("user_segments"),
            day=day,
        )
        users = self.rows("select distinct user_id from raw.interactions where date <= $day", day)
        lists = [
            {
                "date": as_date(day),
                "user_id": row["user_id"],
                "rank": rank,
                "item_id": f"i{(int(row['user_id'][-3:]) + rank) % 10}",
                "score": 1 / rank,
                "reason": "trending",
                "model_version": "m",
            }
            for row in users
            for rank in range(1, 8)
        ]
        self.put(RECOMMENDATIONS, day, lists)
        names = {column.name for column in ITEM_SCORES.columns}
        self.put(ITEM_SCORES, day, [{n: row[n] for n in names} for row in lists])
        for raw in (INTERACTIONS, CAMPAIGN_EVENTS):
            if day not in self.warehouse.partitions(raw):
                self.put(raw, day, [])
        self.make(*AUDIENCES, day=day)

    def put(self, table: Table, day: str, rows: list[dict[str, Any]]) -> None:
        arrow = pa.Table.from_pylist(rows, arrow_schema(table))
        self.warehouse.replace_partition(table, day, arrow)

    def rows(self, sql: str, day: str = DAY) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.warehouse.query(sql, {"day": as_date(day)}).to_pylist()
        return rows

    def retention(self, day: str = DAY) -> list[dict[str, Any]]:
        return self.rows(
            "select * from predictions.retention_audience where date = $day order by rank", day
        )

    def promotions(self, day: str = DAY) -> list[dict[str, Any]]:
        return self.rows(
            "select * from predictions.promotion_audience where date = $day "
            "order by campaign_id, rank",
            day,
        )


AUDIENCES = tuple(
    prediction_asset(each) for each in (churn_scores, retention_audience, promotion_audience)
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("audiences"))
    write_shop(made.warehouse, visits())
    start, end = dt.date(2024, 5, 20), dt.date(2024, 6, 30)
    exports.add_campaign(made.warehouse, "one-item", ["i3"], start, end)
    exports.add_campaign(made.warehouse, "threes", ["i0", "i3", "i6", "i9"], start, end)
    exports.add_campaign(made.warehouse, "later", ["i1"], dt.date(2024, 6, 20), end)
    exports.add_campaign(made.warehouse, "over", ["i1"], FIRST, dt.date(2024, 5, 26))
    made.make(model_asset("churn"), day=WEEK)
    made.predict(DAY)
    yield made


def test_the_audience_finds_those_who_fade(world: World) -> None:
    audience = world.retention()
    assert len(audience) >= BUDGET
    fading = [row["user_id"].startswith(FADING) for row in audience]
    active = world.rows("select user_id from features.churn_features where date = $day")
    share = np.mean([row["user_id"].startswith(FADING) for row in active])
    assert np.mean(fading) > 0.8 > 0.4 > share
    scores = world.rows("select * from predictions.churn_scores where date = $day")
    assert {row["user_id"] for row in scores} == {row["user_id"] for row in active}
    steady = [r["churn_probability"] for r in scores if r["user_id"].startswith(STEADY)]
    assert np.mean(steady) < 0.1 and all(0 < row["churn_probability"] < 1 for row in scores)


def test_the_most_valuable_come_first_with_offers_and_words(world: World) -> None:
    audience = world.retention()
    values = [row["expected_value"] for row in audience]
    assert values == sorted(values, reverse=True)
    assert [row["rank"] for row in audience] == list(range(1, len(audience) + 1))
    for row in audience:
        expected = row["churn_probability"] * row["margin_at_risk"]
        assert row["expected_value"] == pytest.approx(expected)
        assert row["days_inactive"] >= 14 and row["churn_probability"] >= 0.2
        first = f"i{(int(row['user_id'][-3:]) + 1) % 10}"
        assert row["offer_item_ids"][0] == first and len(row["offer_item_ids"]) == 5
        assert f"no purchase for {row['days_inactive']} days" in row["reason"]


def test_the_budget_counts_who_is_contacted_and_everyone_else_has_a_reason(world: World) -> None:
    audience = world.retention()
    assert sum(not row["held_out"] for row in audience) == BUDGET
    assert any(row["held_out"] for row in audience) and not audience[-1]["held_out"]
    inactive = world.rows(
        "select user_id from predictions.churn_scores where date = $day and days_inactive >= 14"
    )
    told = world.rows(
        "select key, reason from predictions.exclusions where date = $day "
        "and table_name = 'retention_audience'"
    )
    assert len(told) + len(audience) == len(inactive)
    assert any("beyond the budget of 25" in row["reason"] for row in told)


def test_the_holdout_is_a_hash_the_same_in_python_and_sql_and_unbiased(world: World) -> None:
    users = [f"u{n}" for n in range(20_000)]
    places = np.array([place("salt", "retention", user) for user in users])
    told = world.warehouse.query(
        f"select {place_sql(chr(39) + 'retention' + chr(39), 'user_id')} as place "
        "from (select unnest($users::VARCHAR[]) as user_id)",
        {"users": users, "holdout_salt": "salt"},
    )["place"].to_numpy()
    assert (told == places).all() and places.min() >= 0 and places.max() < 1
    held = places < 0.1
    assert abs(held.mean() - 0.1) < 0.01
    # Neither a customer's worth nor another list, nor another salt, tells who is held out.
    worth = np.random.default_rng(1).gamma(2, 3, len(users))
    assert abs(worth[held].mean() - worth[~held].mean()) < 0.3
    for other in (("salt", "campaign"), ("pepper", "retention")):
        also = np.array([place(*other, user) for user in users]) < 0.1
        assert abs(also[held].mean() - 0.1) < 0.03


def test_a_campaigns_buyers_come_first_and_its_items_alone_are_shown(world: World) -> None:
    audience = world.promotions()
    campaigns = {row["campaign_id"] for row in audience}
    assert campaigns == {"one-item", "threes"}, "live ones; not those to come later, or over"
    offered = {"one-item": {"i3"}, "threes": {"i0", "i3", "i6", "i9"}}
    for campaign in campaigns:
        mine = [row for row in audience if row["campaign_id"] == campaign]
        assert [row["rank"] for row in mine] == list(range(1, len(mine) + 1))
        assert [row["score"] for row in mine] == sorted((r["score"] for r in mine), reverse=True)
        assert sum(not row["held_out"] for row in mine) == 20
        for row in mine:
            assert set(row["item_ids"]) <= offered[campaign] and row["item_ids"]
            assert row["kind"] == "ad_hoc"
        bought = world.rows(
            "select user_id, count(*) as visits from raw.interactions where date <= $day "
            f"and item_id in ({', '.join(map(repr, sorted(offered[campaign])))}) group by 1"
        )
        had = {row["user_id"]: row["visits"] for row in bought}
        assert all(row["own_items"] > 0 and row["user_id"] in had for row in mine[:10])


def test_nobody_is_on_more_lists_than_the_cap(tmp_path: Any, world: World) -> None:
    other = World(tmp_path, campaigns_per_user=1)
    write_shop(other.warehouse, visits(60, days=150))
    start, end = dt.date(2024, 5, 20), dt.date(2024, 6, 30)
    for name in ("a", "b", "c"):
        exports.add_campaign(other.warehouse, name, ["i0", "i1", "i2"], start, end)
    exports.add_campaign(other.warehouse, "nobody", ["i5"], start, end)
    listed = [{"item_id": "i5", "available": False}]
    goods = other.rows("select * from raw.items where item_id <> 'i5'")
    put(other.warehouse, ITEMS, [{**row, "attributes": None} for row in goods] + listed)
    other.make(model_asset("churn"), day=WEEK)
    other.predict(DAY)
    users = [row["user_id"] for row in other.promotions()]
    assert len(users) == len(set(users)) > 0
    # Of equal campaigns the first takes all; one without available items has nobody either.
    told = other.rows("select key from predictions.exclusions where reason like 'no active%'")
    assert sorted(row["key"] for row in told) == ["b|", "c|", "nobody|"]


def test_a_day_made_again_has_the_same_bytes(world: World) -> None:
    folder = world.warehouse.folder / "predictions"

    def held() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in folder.rglob("data.parquet")}

    before = held()
    world.make(features_asset("churn_features"), day=DAY)
    world.make(*AUDIENCES, day=DAY)
    assert held() == before and len(before) >= 5


def test_who_was_listed_is_left_alone_and_the_day_itself_does_not_change(world: World) -> None:
    audience = world.retention()
    sent = exports.audience(world.warehouse, "retention", as_date(DAY))
    assert sent.num_rows == BUDGET and not any(sent["held_out"].to_pylist())
    assert exports.mark_listed(world.warehouse, "retention", sent) == BUDGET
    assert exports.mark_listed(world.warehouse, "retention", sent) == BUDGET
    events = world.rows("select * from raw.campaign_events where event_type = 'listed'")
    assert len(events) == BUDGET and {row["campaign_id"] for row in events} == {"retention"}
    world.make(*AUDIENCES, day=DAY)
    assert world.retention() == audience
    world.predict(NEXT)
    contacted = {row["user_id"] for row in events}
    tomorrow = world.retention(NEXT)
    assert tomorrow and not contacted & {row["user_id"] for row in tomorrow}
    told = world.rows(
        "select reason from predictions.exclusions where date = $day "
        f"and table_name = 'retention_audience' and reason like 'listed on {DAY}%'",
        NEXT,
    )
    assert len(told) > BUDGET / 2
    # Those held out were not contacted, and stay held out.
    before = {row["user_id"] for row in audience if row["held_out"]}
    again = {row["user_id"]: row["held_out"] for row in tomorrow}
    assert all(again[user] for user in before & set(again))


def test_lists_are_csv_and_say_what_there_is(world: World) -> None:
    rows = exports.audience(world.warehouse, "promotions", as_date(DAY), "threes", held_out=True)
    read = list(csv.DictReader(io.StringIO(exports.as_csv(rows))))
    assert [row["rank"] for row in read] == [str(n + 1) for n in range(len(read))]
    assert {row["held_out"] for row in read} == {"True", "False"}
    assert set(read[0]["item_ids"].split()) <= {"i0", "i3", "i6", "i9"}
    for day, campaign, what in (
        (dt.date(2024, 5, 1), None, "days there: 2024-05-26"),
        (as_date(DAY), "none such", "campaigns there: one-item, threes"),
    ):
        with pytest.raises(exports.AudienceError, match=what):
            exports.audience(world.warehouse, "promotions", day, campaign)


@pytest.mark.parametrize(
    ("name", "items", "days", "what"),
    [
        ("x", ["i1", "no-such"], (FIRST, LAST), "nobody knows: no-such"),
        ("x", ["i1"], (LAST, FIRST), "before it starts"),
        ("x", [" "], (FIRST, LAST), "at least one item"),
        ("retention", ["i1"], (FIRST, LAST), "choose another"),
    ],
)
def test_a_campaign_that_cannot_be_is_refused(
    world: World, name: str, items: list[str], days: tuple[dt.date, dt.date], what: str
) -> None:
    with pytest.raises(exports.AudienceError, match=what):
        exports.add_campaign(world.warehouse, name, items, *days)


def test_plots_are_drawn(world: World) -> None:
    for declared in (churn_scores, retention_audience, promotion_audience):
        assert declared.plot is not None
        assert declared.plot(world.warehouse, DAY) is not None
        assert declared.plot(world.warehouse, "2024-01-05") is None


def test_without_history_nothing_fails_and_everyone_has_a_reason(tmp_path: Any) -> None:
    """A source without times: all rows on one day."""
    world = World(tmp_path)
    day = (as_date(DAY) - FIRST).days
    write_shop(world.warehouse, [(f"u-{n:03d}", day) for n in range(30)])
    world.make(model_asset("churn"), day=WEEK)
    world.predict(DAY)
    told = world.rows("select reason from predictions.exclusions where table_name = 'churn_scores'")
    assert len(told) == 30 and all("nothing was learned" in row["reason"] for row in told)
    assert world.retention() == [] and world.promotions() == []
