"""States that one night keeps are read by the next, and change no row of any table."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_predictions.core.home import write_state
from batch_predictions.features.sql.queries import parameters, sql
from batch_predictions.inference import staging
from batch_predictions.inference.partition_loading import load_partition
from batch_predictions.inference.partition_staging import (
    ServingModel,
    engine_folder,
    staging_spec,
)
from batch_predictions.inference.pools import engine
from batch_predictions.inference.results import StagingManifest
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.generators.sequence import Sequence, SequenceParams
from batch_predictions.predictions.recommendations import recommendations
from batch_predictions.settings import Settings, SourceSettings
from batch_predictions.tables import (
    INTERACTIONS,
    ITEM_ACTIVITY,
    ITEM_STATE,
    ITEMS,
    RECOMMENDATIONS,
    SEQUENCE_STATES,
    USER_SEGMENTS,
    USERS,
)
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.home_state import STATE
from batch_predictions_tests.worlds.table_rows import named_rows, write_rows
from batch_predictions_tests.worlds.tiles import make_all_tiles

DAY = dt.date(2024, 3, 31)
USERS_COUNT, ITEMS_COUNT, DAYS = 30, 20, 20


class Shop:
    """A shop whose network serves alone."""

    def __init__(self, home: Path) -> None:
        write_state(home, STATE)
        self.settings = Settings(home=home, source=SourceSettings(kind="files"))
        self.warehouse = Warehouse.of(self.settings)
        random = np.random.default_rng(5)
        days = [DAY - dt.timedelta(days=age) for age in range(DAYS)]
        tables = [self.write_day(day, random) for day in days]
        items = [(f"i{item:02}", f"i{item:02}", True) for item in range(ITEMS_COUNT)]
        write_rows(self.warehouse, ITEMS, named_rows("item_id title available", items))
        users = [{"user_id": f"u{user:02}"} for user in range(USERS_COUNT + 1)]
        write_rows(self.warehouse, USERS, users)
        interactions = Interactions.from_table(pa.concat_tables(tables))
        params = SequenceParams(minutes=0.01, width=8, batch=8)
        self.folder = home / "model"
        Sequence.fit(interactions, DAY, params).save(self.folder)
        for day in days[1::-1]:
            make_all_tiles(self.warehouse, self.settings, day)
            for table in (ITEM_STATE, USER_SEGMENTS, ITEM_ACTIVITY):
                bound = {**parameters(self.settings), "date": day}
                self.warehouse.replace_partition(
                    table, day.isoformat(), sql(table.name, tiles=True), bound
                )

    def write_day(self, day: dt.date, random: np.random.Generator) -> pa.Table:
        """Random purchases; the recommender's columns of them."""
        rows = 12
        at = [dt.datetime.combine(day, dt.time(int(random.integers(24)))) for _ in range(rows)]
        columns = {
            "user_id": [f"u{user:02}" for user in random.integers(0, USERS_COUNT, rows)],
            "item_id": [f"i{item:02}" for item in random.integers(0, ITEMS_COUNT, rows)],
        }
        table = pa.table(
            {
                "event_id": [f"{day}-{row}" for row in range(rows)],
                **columns,
                "event_type": ["purchase"] * rows,
                "quantity": pa.nulls(rows, pa.float64()),
                "amount": pa.nulls(rows, pa.float64()),
                "location": pa.nulls(rows, pa.string()),
                "occurred_at": pa.array(at, pa.timestamp("us")),
            }
        )
        self.warehouse.replace_partition(INTERACTIONS, day.isoformat(), table)
        return pa.table({**columns, "date": [day] * rows, "events": [1.0] * rows})

    def predict(self, day: dt.date) -> pa.Table:
        """Makes a day of recommendations; returns the staged states."""
        model = ServingModel("recommender-1", self.folder)
        spec = staging_spec(recommendations, day.isoformat(), model, self.settings)
        path = staging.stage(self.warehouse, engine_folder(self.settings), spec)
        engine.score(path, self.settings.inference)
        load_partition(self.warehouse, RECOMMENDATIONS, path, recommendations.child_tables)
        shards = StagingManifest.read(path).shards
        staged = pa.concat_tables(pq.read_table(path.parent / shard.name) for shard in shards)
        return staged.select(["user_id", "state_digest", "state"])

    def rows(self, table: str, day: dt.date) -> list[dict[str, object]]:
        """A day of a table, sorted."""
        query = f"select * from {table} where date = $day::DATE order by all"
        return self.warehouse.query(query, {"day": day.isoformat()}).to_pylist()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_night_advances_the_states_of_the_night_before(shop: Shop) -> None:
    before = DAY - dt.timedelta(days=1)
    assert shop.predict(before)["state"].null_count == USERS_COUNT + 1
    kept = shop.rows("tiles.sequence_states", before)
    staged = shop.predict(DAY).to_pylist()
    # Users without a list have no state: the last one has never bought anything.
    with_states = {row["user_id"]: row["state"] for row in staged if row["state"] is not None}
    assert (
        with_states == {row["user_id"]: row["state"] for row in kept} and "u30" not in with_states
    )
    assert len(with_states) == USERS_COUNT
    tables = ("predictions.recommendations", "features.item_scores", "tiles.sequence_states")
    advanced = {table: shop.rows(table, DAY) for table in tables}
    assert len(advanced["tiles.sequence_states"]) == USERS_COUNT
    assert advanced["tiles.sequence_states"] != kept
    # All anew gives the same rows.
    shop.warehouse.drop_partition(SEQUENCE_STATES, before.isoformat())
    assert shop.predict(DAY)["state"].null_count == USERS_COUNT + 1
    assert {table: shop.rows(table, DAY) for table in tables} == advanced
