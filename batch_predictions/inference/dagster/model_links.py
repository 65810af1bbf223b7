"""Metadata that leads from a prediction to the training of the model that made it.

It also leads from a prediction's columns to the columns that they are computed from.
"""

from __future__ import annotations

import datetime as dt

import dagster as dg

from batch_predictions.inference.base import BatchPrediction
from batch_predictions.models.model_store import ModelStore
from batch_predictions.tables import Table
from batch_predictions.tables.partitions import latest_ended_week
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.column_lineage import Lineage, all_sources, read_lineage


def model_links(
    instance: dg.DagsterInstance, models: ModelStore, model: str, version: str, day: dt.date
) -> dict[str, object]:
    """Asset, week and run of a version's training, and why the version serves a day.

    Args:
        instance: with the trainings' materializations.
        models: the model store.
        model: name of the model.
        version: the version that made the prediction.
        day: the last day whose data the prediction uses.
    """
    key = dg.AssetKey(["models", model])
    week = latest_ended_week(models.manifest(model, version).trained_through).isoformat()
    links: dict[str, object] = {"model": dg.MetadataValue.asset(key), "model_week": week}
    # The run of a week that was trained elsewhere, as in a restored home, is not known.
    trainings = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[week])
    records = instance.fetch_materializations(trainings, limit=1).records
    if records:
        links["model_training_run"] = dg.MetadataValue.dagster_run(records[0].run_id)
    decisions = [
        decision
        for decision in models.decisions(model)
        if decision.version == version and decision.effective_from <= day
    ]
    if decisions:
        newest = decisions[-1]
        links["model_decision"] = f"{newest.decision} on {newest.effective_from}: {newest.why}"
    return links


ROWS = "rows"


def prediction_lineage(
    warehouse: Warehouse, prediction: BatchPrediction, table: Table
) -> Lineage | None:
    """The lineage of a table that a prediction writes.

    The key's columns are those of the rows to score. A scorer reads these rows and the lookup
    tables whole, so that every other column is computed from all columns of both. Partition and
    model version are computed from no column.

    Args:
        warehouse: with the file of what is known.
        prediction: the declaration.
        table: its table, or a child table.

    Returns:
        None if the lineage of one of the declaration's queries is not known.
    """
    lookups = {f"lookup {name}": sql for name, sql in prediction.lookup_tables.items()}
    known = read_lineage(warehouse, prediction.table.qualified, {ROWS: prediction.rows, **lookups})
    if known is None:
        return None
    read_columns = all_sources(known.values())
    return {
        column.name: known[ROWS].get(column.name, [])
        if column.name in prediction.key
        else read_columns
        for column in table.columns
        if column.name not in (table.partition, "model_version")
    }
