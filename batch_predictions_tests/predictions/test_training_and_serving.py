"""Training and serving see the same rows: item statistics, histories, and the history's length."""

from __future__ import annotations

import datetime as dt
import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from batch_predictions.core.home import write_state
from batch_predictions.features.sql.queries import parameters as feature_parameters
from batch_predictions.features.sql.queries import sql
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ITEM_STATS, ItemFeatures
from batch_predictions.models.recommender.data.staged_histories import IdLookup, read_histories
from batch_predictions.models.recommender.recommender_inputs import (
    _share_below,
    read_interactions,
    training_days,
    two_stage_config,
)
from batch_predictions.models.recommender.training.config import label_windows
from batch_predictions.models.recommender.training.trainer import RankerTrainer
from batch_predictions.predictions.recommendations import parameters, recommendations
from batch_predictions.settings import RecommenderSettings, Settings, SourceSettings
from batch_predictions.tables import INTERACTIONS, ITEM_STATE, ITEMS, USER_SEGMENTS, USERS
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.home_state import STATE
from batch_predictions_tests.worlds.table_rows import named_rows, write_rows
from batch_predictions_tests.worlds.tiles import make_all_tiles

DAY = dt.date(2024, 3, 31)
USERS_COUNT, ITEMS_COUNT, DAYS = 30, 20, 120
HISTORY_DAYS = 40


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Warehouse, Settings]:
    """Users who buy items, some of which are never recommended (fuel) or sold out."""
    home = tmp_path_factory.mktemp("home")
    write_state(home, STATE)
    settings = Settings(
        home=home,
        source=SourceSettings(kind="files", exclude_items={"category": ["fuel"]}),
        recommender=RecommenderSettings(history_days=HISTORY_DAYS, holdout_days=7),
    )
    warehouse = Warehouse.of(settings)
    write_interactions(warehouse)
    item_ids = [f"i{item:02}" for item in range(ITEMS_COUNT)]
    items = [
        (name, name, "fuel" if item < 3 else "food", item % 5 != 4)
        for item, name in enumerate(item_ids)
    ]
    write_rows(warehouse, ITEMS, named_rows("item_id title category available", items))
    write_rows(warehouse, USERS, [{"user_id": f"u{user:02}"} for user in range(USERS_COUNT)])
    for table in (ITEM_STATE, USER_SEGMENTS):
        query_parameters = {**feature_parameters(settings), "date": DAY}
        warehouse.replace_partition(table, DAY.isoformat(), sql(table.name), query_parameters)
    make_all_tiles(warehouse, settings, DAY)
    return warehouse, settings


def write_interactions(warehouse: Warehouse) -> None:
    """Random purchases and ratings, with a time of day."""
    rng = np.random.default_rng(5)
    for age in range(DAYS):
        day = DAY - dt.timedelta(days=age)
        rows = int(rng.integers(6, 12))
        times = [dt.datetime.combine(day, dt.time(int(rng.integers(24)))) for _ in range(rows)]
        is_rating = rng.random(rows) < 0.3
        table = pa.table(
            {
                "event_id": [f"{day}-{row}" for row in range(rows)],
                "user_id": [f"u{user:02}" for user in rng.integers(0, USERS_COUNT, rows)],
                "item_id": [f"i{item:02}" for item in rng.integers(0, ITEMS_COUNT, rows)],
                "event_type": ["rating" if rated else "purchase" for rated in is_rating],
                "quantity": pa.nulls(rows, pa.float64()),
                "amount": rng.integers(1, 6, rows).astype(np.float64),
                "location": pa.nulls(rows, pa.string()),
                "occurred_at": pa.array(times, pa.timestamp("us")),
            }
        )
        warehouse.replace_partition(INTERACTIONS, day.isoformat(), table)


def serving_parameters(settings: Settings) -> dict[str, object]:
    return {**parameters(settings), "date": DAY}


def with_max_users(settings: Settings, max_users: int) -> Settings:
    """Smaller than the setting allows: the shop has few users."""
    chosen = settings.recommender.model_copy(update={"max_users": max_users})
    return settings.model_copy(update={"recommender": chosen})


def training_interactions(warehouse: Warehouse, settings: Settings) -> Interactions:
    rows = read_interactions(warehouse, settings, DAY, training_days(settings))
    return Interactions.from_table(rows.table)


def test_training_reads_the_rows_of_some_of_many_users(shop: tuple[Warehouse, Settings]) -> None:
    warehouse, settings = shop
    everything = read_interactions(warehouse, settings, DAY, 60)
    assert everything.users == everything.all_users == USERS_COUNT
    assert everything.user_share == 1 and everything.note == ""
    few = with_max_users(settings, 10)
    samples = [
        read_interactions(warehouse, few, DAY - dt.timedelta(days=age), 60) for age in (0, 30)
    ]
    names = everything.table["user_id"].unique().to_pylist()
    hashes = {name: hashlib.md5(name.encode(), usedforsecurity=False).hexdigest() for name in names}
    eleventh = int(sorted(hashes.values())[10], 16) / 16**32
    for sample in samples:
        assert sample.all_users == 30 and 0.9 * eleventh < sample.user_share <= eleventh
        assert f"{sample.users} of 30 users" in sample.note
        assert "recommender.max_users" in sample.note
    # The same users every week, with all of their rows: those of the smallest hashes.
    chosen, chosen_before = (pc.unique(sample.table["user_id"]).sort() for sample in samples)
    assert chosen == chosen_before and len(chosen) == samples[0].users <= 10
    share = samples[0].user_share
    assert chosen.to_pylist() == [
        name for name in sorted(names) if int(hashes[name], 16) / 16**32 < share
    ]
    rows = everything.table.filter(pc.is_in(everything.table["user_id"], chosen))
    order = [(name, "ascending") for name in ("user_id", "item_id", "date")]
    assert samples[0].table.sort_by(order) == rows.sort_by(order)


def test_the_sample_stays_until_there_are_a_ninth_more_users() -> None:
    random = np.random.default_rng(0)
    hashes = [random.bytes(16).hex() for _ in range(20_000)]
    shares = {
        users: _share_below(sorted(hashes[:users])[1_000]) for users in range(10_000, 20_001, 250)
    }
    assert set(shares.values()) <= {0.9**power for power in range(20, 32)}
    for users, share in shares.items():
        selected = sum(int(text, 16) / 16**32 < share for text in hashes[:users])
        assert 850 < selected <= 1_000
    assert len({*shares.values()}) <= 9, "twice as many users, and six or seven changes"


def test_item_counts_of_a_sample_of_users_are_scaled_to_all(
    shop: tuple[Warehouse, Settings],
) -> None:
    warehouse, settings = shop
    interactions = training_interactions(warehouse, settings)
    config = two_stage_config(settings)
    counted, scaled = (
        RankerTrainer(config, user_share=share).item_features(
            interactions, DAY, interactions.item_ids
        )
        for share in (1.0, 0.25)
    )
    for name in ITEM_STATS:
        factor = 1 if name == "days_since_first" else 4
        np.testing.assert_array_equal(scaled.stats[name], factor * counted.stats[name])


def test_item_statistics_of_training_equal_those_of_serving(
    shop: tuple[Warehouse, Settings],
) -> None:
    warehouse, settings = shop
    interactions = training_interactions(warehouse, settings)
    trainer = RankerTrainer(two_stage_config(settings))
    training = trainer.item_features(interactions, DAY, interactions.item_ids)
    stats = warehouse.query(
        recommendations.lookup_tables["item_stats"], serving_parameters(settings)
    )
    serving = ItemFeatures.from_tables(stats, interactions.item_ids)
    # Excluded items are unknown to both, unavailable ones known to both.
    assert not {"i00", "i01", "i02"} & {*interactions.item_ids.to_pylist()}
    assert {"i04", "i09"} <= {*interactions.item_ids.to_pylist()}
    for name in ITEM_STATS:
        np.testing.assert_array_equal(serving.stats[name], training.stats[name], err_msg=name)
    assert training.stats["returning_events_14"].sum() > 0
    assert training.stats["first_time_events_14"].sum() > 0


def test_histories_of_training_equal_those_of_serving(shop: tuple[Warehouse, Settings]) -> None:
    warehouse, settings = shop
    interactions = training_interactions(warehouse, settings)
    rows = warehouse.query(
        f"select * from ({recommendations.rows}) order by user_id", serving_parameters(settings)
    )
    items = interactions.item_ids
    serving = read_histories(rows.combine_chunks().to_batches()[0], IdLookup.of(items))
    recent = interactions.up_to(DAY, HISTORY_DAYS)
    users = np.array(
        [recent.user_ids.index(user).as_py() for user in rows["user_id"].combine_chunks()]
    )
    training = Histories.from_interactions(recent, users, items, DAY)
    for name in ("user_index", "items", "ages", "events", "timestamps", "ratings"):
        np.testing.assert_array_equal(getattr(serving, name), getattr(training, name), err_msg=name)
    assert serving.ages.max() == HISTORY_DAYS - 1


def test_the_oldest_label_window_sees_histories_as_long_as_those_that_are_served(
    shop: tuple[Warehouse, Settings],
) -> None:
    warehouse, settings = shop
    interactions = training_interactions(warehouse, settings)
    config = two_stage_config(settings)
    windows = list(label_windows(interactions, DAY, config))
    # The oldest window begins long before the history that serving sees.
    assert (DAY - windows[-1].as_of).days > HISTORY_DAYS
    first_day = np.datetime64(DAY, "D") - (DAYS - 1)
    for window in windows:
        first_seen = np.datetime64(window.as_of, "D") - (HISTORY_DAYS - 1)
        assert window.train.dates.min() == max(first_seen, first_day)
        features = RankerTrainer(config).item_features(
            interactions, window.as_of, interactions.item_ids
        )
        assert features.stats["days_since_first"].max() <= HISTORY_DAYS - 1
