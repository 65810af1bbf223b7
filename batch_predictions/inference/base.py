"""The declaration of a prediction: which rows to score, which scorer, which table.

    recommendations = BatchPrediction(
        table=RECOMMENDATIONS,
        rows="select user_id, … from features.user_activity where date = $date",
        key=("user_id",),
        scorer=RecommendationScorer,
        model="recommender",
    )

From it the platform builds a partitioned asset of three steps; the scoring step of a scorer that
may use a GPU has GPU tags. The asset has shards, several model instances, resume after a crash,
accounting of keys, checks, previews, plots, lineage and backfills, and its table goes into the next
release.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

from batch_predictions.inference.child_tables import declaration_errors
from batch_predictions.inference.scorer import Scorer
from batch_predictions.inference.validation import CHILD_ROWS_BELONG, KEYS_ACCOUNTED, Check
from batch_predictions.settings import Settings
from batch_predictions.tables import TABLES, Table
from batch_predictions.tables.partitions import (
    newest_ended_week,
    trained_through,
    weeks_ahead_mapping,
)
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.schema_sql import tables_in

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _no_parameters(settings: Settings) -> Mapping[str, Any]:
    return {}


def _one_week(settings: Settings) -> int:
    return 1


def asset_key_of(table: Table) -> dg.AssetKey:
    """Returns the key `<schema>/<name>` of a table's asset."""
    return dg.AssetKey([table.schema, table.name])


@dataclass(frozen=True)
class BatchPrediction:
    """Declares a prediction: the rows to score, the scorer, and the table of the results.

    Attributes:
        table: where the predictions are written; declared with `date` or `week` and
            `model_version`.
        rows: query for the rows to score. It may bind `$date` (or `$week`), the parameters and, as
            `$model_<name>`, the values that the model was trained with. Filter every table by
            `date <= $date`, so that nothing from after the partition is used.
        key: columns of the rows that identify what is scored; unique.
        scorer: class that scores batches.
        model: model whose champion of the day is loaded; None for a rule.
        parameters: the values, from the settings, that SQL and scorer use; part of the results'
            hash.
        lookup_tables: queries for small tables that every worker reads whole, by name.
        child_tables: tables that are written from the same scoring, by the column of the scorer's
            rows that holds their rows: a list of structs without partition, key and
            `model_version`, on at most one row of a key.
        checks: queries that must count 0 violations before the partition is replaced.
        plot: draws one partition of the table.
        kinds: badges of the asset in the UI.
        looks_ahead: number of weeks after the day that the SQL reads of tables that are known in
            advance.
        released: whether applications look the table up in releases.
        shard_rows: minimum number of rows per shard, for scorers that gain from large batches; the
            setting `inference.shard_rows` may be larger, and `inference.shard_mb` still applies.
        eligible: query for the keys of all who are eligible, with the same parameters as `rows`.
            Keys that it returns and `rows` does not are written to `predictions.exclusions`, with
            its optional column `reason`; keys of `rows` that it lacks are refused. None: the keys
            of `rows` are all.
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
    eligible: str | None = None

    def __post_init__(self) -> None:
        for column, child in self.child_tables.items():
            errors = declaration_errors(self.table, self.key, column, child)
            if errors:
                raise ValueError(
                    f"{child.qualified} cannot be a child table of {self.table.qualified}: "
                    + "; ".join(errors)
                )

    @property
    def name(self) -> str:
        """Name of the table and of its asset."""
        return self.table.name

    @property
    def asset_key(self) -> dg.AssetKey:
        """Key of the asset, `predictions/<name>`."""
        return asset_key_of(self.table)

    @property
    def cadence(self) -> Literal["daily", "weekly"]:
        """Cadence of the table's predictions, from its partition column."""
        return "weekly" if self.table.partition == "week" else "daily"

    @property
    def released_tables(self) -> tuple[Table, ...]:
        """Tables that go into releases: the main table, and child tables of the same schema."""
        if not self.released:
            return ()
        children = self.child_tables.values()
        return (self.table, *(child for child in children if child.schema == self.table.schema))

    def as_of(self, partition: str) -> dt.date:
        """The last day whose data a partition may use."""
        day = as_date(partition)
        return trained_through(day) if self.cadence == "weekly" else day

    @property
    def all_checks(self) -> tuple[Check, ...]:
        """The checks that every prediction has, then the declared ones."""
        child_checks = (CHILD_ROWS_BELONG,) if self.child_tables else ()
        return (KEYS_ACCOUNTED, *child_checks, *self.checks)

    def tables(self) -> set[str]:
        """Qualified names of the tables that the SQL reads.

        Without its own child tables: of an earlier day, and perhaps empty, they only save work.
        """
        queries = (self.rows, self.eligible, *self.lookup_tables.values())
        read = set().union(*(tables_in(sql) for sql in queries if sql is not None))
        return read - {child.qualified for child in self.child_tables.values()}

    def upstreams(self, settings: Settings) -> dict[str, dg.AssetIn]:
        """The assets that the SQL and the model depend on, by input name."""
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
