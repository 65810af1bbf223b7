"""The folder or bucket of a sink, and the removal of users from rows of its files."""

from __future__ import annotations

from collections.abc import Mapping, Set

import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.core.erasures import ErasedKeys
from batch_predictions.core.object_store import ObjectFolder, local_folder
from batch_predictions.serving.sinks.sink_tables import SinkError

ROW_IDS = ("user_id", "review_id")
"""Columns whose erased ids remove their rows."""
LISTED_IDS = ("example_review_ids",)
"""Columns of lists from which erased ids are removed."""
_WHAT = "the sink"


def open_objects(url: str) -> ObjectFolder:
    """Opens the folder or bucket of a sink; a folder is made.

    Raises:
        SinkError: it cannot be reached or made.
    """
    folder = local_folder(url.rstrip("/"), _WHAT, SinkError)
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"the sink {url} cannot be written: {error.strerror}") from error
        url = folder.absolute().as_uri()
    return ObjectFolder(url.rstrip("/"), _WHAT, SinkError, "lakehouse")


def remove_incomplete(url: str) -> None:
    """Removes what killed writes have left in a folder, which lists of objects do not have."""
    folder = local_folder(url, _WHAT, SinkError)
    for path in folder.rglob("*.parquet#*") if folder else ():
        path.unlink(missing_ok=True)


def erased_ids(rows: pa.RecordBatch, keys: ErasedKeys) -> dict[str, set[str]]:
    """Finds ids of erased users and of their reviews in rows, by column."""
    found = {}
    for column in {*ROW_IDS, *LISTED_IDS} & {*rows.schema.names}:
        values = rows[column].flatten() if column in LISTED_IDS else rows[column]
        found[column] = keys.erased(column, values.unique().to_pylist())
    return {column: ids for column, ids in found.items() if ids}


def without_ids(rows: pa.RecordBatch, erased: Mapping[str, Set[str]]) -> pa.RecordBatch:
    """Returns rows without those of erased ids, and without the ids in lists."""
    for column in LISTED_IDS:
        if ids := erased.get(column):
            lists = (
                None if listed is None else [id_ for id_ in listed if id_ not in ids]
                for listed in rows[column].to_pylist()
            )
            place = rows.schema.get_field_index(column)
            field = rows.schema.field(place)
            rows = rows.set_column(place, field, pa.array(lists, field.type))
    for column in ROW_IDS:
        if ids := erased.get(column):
            is_erased = pc.is_in(rows[column], pa.array(sorted(ids), rows[column].type))
            rows = rows.filter(pc.invert(is_erased))
    return rows
