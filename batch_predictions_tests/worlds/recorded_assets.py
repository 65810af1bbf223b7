"""Two assets of a home's own Dagster instance, whose rows a test sets."""

# No `from __future__ import annotations`: Dagster reads the type of `context` itself.
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pytest

from batch_predictions.operations.records import OWNER_TAG
from batch_predictions.orchestration import instance as home_instance
from batch_predictions.settings import Settings
from batch_predictions.tables import ITEM_STATE
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.plot_style import new_axes
from batch_predictions.warehouse.reporting import record_materializations
from batch_predictions_tests.worlds.home import PARTITIONS

ITEMS = (
    "select 'i' || i as item_id, 'a' as title, 'c' as category, i / 3 as price, "
    "false as is_excluded, true as available from range($n) as r(i)"
)
DAYS = ("2024-01-01", "2024-01-02", "2024-01-03")


@contextmanager
def home_dagster(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of a home, with events in batches."""
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")
    home_instance.prepare(settings)
    with dg.DagsterInstance.get() as instance:
        yield instance


class RecordedAssets:
    """An asset whose rows of each day the test sets, and one downstream whose rows stay."""

    def __init__(self, instance: dg.DagsterInstance, warehouse: Warehouse) -> None:
        self.instance, self.warehouse = instance, warehouse
        self.rows = dict.fromkeys(DAYS, 1)
        self.plots: list[str] = []
        self.version: str | None = None

    def asset(self, name: str, deps: list[str]) -> dg.AssetsDefinition:
        world = self
        table = ITEM_STATE if name == "bought" else dataclasses.replace(ITEM_STATE, name=name)

        @dg.asset(
            name=name,
            deps=deps,
            partitions_def=PARTITIONS.daily,
            backfill_policy=dg.BackfillPolicy.single_run(),
            code_version=self.version,
        )
        def goods(context: dg.AssetExecutionContext) -> None:
            results = {
                day: world.warehouse.replace_partition(
                    table, day, ITEMS, {"n": world.rows[day] if name == "bought" else 0}
                )
                for day in context.partition_keys
            }
            record_materializations(
                context,
                world.warehouse,
                results,
                plot=lambda: world.plot(name),
                lineage=lambda: {"title": ["raw.items.title"]},
            )

        return goods

    def plot(self, name: str) -> Any:
        self.plots.append(name)
        return new_axes("goods")[0]

    def run(self, *days: str, by_hand: bool = False, only: str | None = None) -> None:
        """A run of a command, or of a person."""
        tags = {} if by_hand else {OWNER_TAG: "host:1"}
        tags |= {
            "dagster/asset_partition_range_start": days[0],
            "dagster/asset_partition_range_end": days[-1],
        }
        selection = [only] if only else None
        assert dg.materialize(
            self.assets(), instance=self.instance, tags=tags, selection=selection
        ).success

    def assets(self) -> list[dg.AssetsDefinition]:
        """Both assets."""
        return [self.asset("bought", []), self.asset("shelved", ["bought"])]

    def data_versions(self) -> dict[str, str]:
        """Dagster's version of each partition of `bought`."""
        key = dg.AssetKey("bought")
        records = self.instance.fetch_materializations(key, limit=99, ascending=True).records
        return {
            str(record.partition_key): (record.asset_materialization.tags or {})[
                "dagster/data_version"
            ]
            for record in records
            if record.asset_materialization
        }

    def stale(self) -> list[str]:
        """Days of `shelved` that Dagster's pages show as out of date."""
        from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
        from dagster._core.loader import LoadingContextForTest

        graph = dg.Definitions(assets=self.assets()).resolve_asset_graph()
        context = LoadingContextForTest(self.instance)
        resolver = CachingStaleStatusResolver(self.instance, graph, context)
        key = dg.AssetKey("shelved")
        return [day for day in DAYS if resolver.get_status(key, day) == StaleStatus.STALE]

    def recorded(self, name: str = "bought") -> list[tuple[str | None, Any]]:
        """Partition and row count of every event, oldest first."""
        key = dg.AssetKey(name)
        records = self.instance.fetch_materializations(key, limit=99, ascending=True).records
        return [
            (
                record.partition_key,
                record.asset_materialization.metadata["dagster/partition_row_count"].value,
            )
            for record in records
            if record.asset_materialization
        ]
