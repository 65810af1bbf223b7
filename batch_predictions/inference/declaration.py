"""A prediction, declared: which rows to score, which scorer, which table.

    recommendations = BatchPrediction(
        table=RECOMMENDATIONS,
        rows="select user_id, … from features.user_activity where date = $date",
        key=("user_id",),
        scorer=RecommendationScorer,
        model="recommender",
    )

gives a partitioned asset of three steps with a GPU-tagged middle one, shards, several model
instances, resume after a crash, accounting of keys, checks, previews, plots, lineage, backfills,
and a place in the next release.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

from batch_predictions.inference import child_tables as beside
from batch_predictions.inference.scorer import Scorer
from batch_predictions.inference.validation import ACCOUNTED, BELONG, Check
from batch_predictions.partitions import (
    newest_ended_week,
    trained_through,
    weeks_ahead_mapping,
)
from batch_predictions.settings import Settings
from batch_predictions.tables import TABLES, Table
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.schema_sql import tables_in

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _no_parameters(settings: Settings) -> Mapping[str, Any]:
    return {}


def _one_week(settings: Settings) -> int:
    return 1


def asset_key_of(table: Table) -> dg.AssetKey:
    """`<schema>/<name>`."""
    return dg.AssetKey([table.schema, table.name])


@dataclass(frozen=True)
class BatchPrediction:
    """A declared prediction.

    Attributes:
        table: where it goes; declared with `date` or `week` and `model_version`.
        rows: query for the rows to score. `$date` (or `$week`), the parameters and, as
            `$model_<name>`, the values that the model was trained with are bound. It sees only
            what happened by that day: every table is filtered by `date <= $date`.
        key: columns of the staged rows that name whom or what is scored; unique.
        scorer: class that scores batches.
        model: model whose champion of the day is loaded; None for a rule without a model.
        parameters: settings that SQL and scorer use; part of the hash of results.
        side: small tables, by name, that every row is scored beside.
        companions: tables that are kept beside the main one, by the column of the scorer's rows
            that holds their rows: a list of structs of what is neither partition, key nor
            `model_version`, on one row of a key at most.
        checks: further questions that block a release when answered with more than 0.
        plot: draws one partition of the table.
        kinds: badges of the asset in the UI.
        looks_ahead: weeks after the day that its SQL reads of tables that are known ahead.
        released: whether applications look it up in the releases.
        shard_rows: rows that a shard has at least, where the scorer gains by seeing many at once;
            `inference.shard_rows` may ask for more, `inference.shard_mb` holds still.
    """

    table: Table
    rows: str
    key: tuple[str, ...]
    scorer: type[Scorer]
    model: str | None = None
    parameters: Callable[[Settings], Mapping[str, Any]] = _no_parameters
    lookup_tables: Mapping[str, str] = field(default_factory=dict)
    child_tables: Mapping[str, Table] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    plot: Callable[[Warehouse, str], Figure | None] | None = None
    kinds: frozenset[str] = frozenset({"torch", "duckdb"})
    looks_ahead: Callable[[Settings], int] = _one_week
    released: bool = True
    shard_rows: int = 1

    def __post_init__(self) -> None:
        for column, companion in self.child_tables.items():
            wrong = beside.problems(self.table, self.key, column, companion)
            if wrong:
                raise ValueError(
                    f"{companion.qualified} cannot be a companion of {self.table.qualified}: "
                    + "; ".join(wrong)
                )

    @property
    def name(self) -> str:
        """The table's name, which is the asset's."""
        return self.table.name

    @property
    def asset_key(self) -> dg.AssetKey:
        """`predictions/<name>`."""
        return asset_key_of(self.table)

    @property
    def cadence(self) -> Literal["daily", "weekly"]:
        """How often it is made, from the table's partition column."""
        return "weekly" if self.table.partition == "week" else "daily"

    @property
    def released_tables(self) -> tuple[Table, ...]:
        """What goes into releases: the table, and companions that are predictions too."""
        if not self.released:
            return ()
        beside = (each for each in self.child_tables.values() if each.schema == self.table.schema)
        return (self.table, *beside)

    def as_of(self, partition: str) -> dt.date:
        """The last day that a partition may know."""
        day = as_date(partition)
        return trained_through(day) if self.cadence == "weekly" else day

    @property
    def all_checks(self) -> tuple[Check, ...]:
        """The declared checks, after those that every prediction has."""
        return (ACCOUNTED, *((BELONG,) if self.child_tables else ()), *self.checks)

    def tables(self) -> set[str]:
        """Qualified names of the tables that its SQL reads."""
        return set().union(*(tables_in(sql) for sql in (self.rows, *self.lookup_tables.values())))

    def upstreams(self, settings: Settings) -> dict[str, dg.AssetIn]:
        """The assets that its SQL and its model stand on, by input name."""
        ins = {}
        for name in sorted(self.tables()):
            mapping = None
            if TABLES[name].ahead:
                mapping = weeks_ahead_mapping(self.looks_ahead(settings))
            elif TABLES[name].partition == "week" and self.cadence == "daily":
                mapping = newest_ended_week
            ins[name.replace(".", "__")] = dg.AssetIn(
                dg.AssetKey(name.split(".")), dagster_type=dg.Nothing, partition_mapping=mapping
            )
        if self.model:
            ins[f"models__{self.model}"] = dg.AssetIn(
                dg.AssetKey(["models", self.model]),
                dagster_type=dg.Nothing,
                partition_mapping=newest_ended_week if self.cadence == "daily" else None,
            )
        return ins
