"""The keys of a staged partition: unique, and with those that are eligible and not to be scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.core.redaction import mask
from batch_predictions.inference.scorer import EXCLUDED
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.path_sql import quote_files, quote_literal

NOT_STAGED = "not among the rows to score"
"""Reason of an eligible key that is not staged, where `eligible` gives none."""


class StagingError(ValueError):
    """The rows to score do not fit the declaration; the message names them."""


def validate_keys(
    rows: pa.Table, key: Sequence[str], previous_key: tuple[object, ...] | None, table: Table
) -> tuple[object, ...]:
    """Refuses duplicate keys among rows that are sorted by the key.

    Args:
        rows: rows of one shard.
        key: columns of the key.
        previous_key: last key of the shard before; None for the first shard.
        table: table of the prediction, for the message.

    Returns:
        The last key.

    Raises:
        StagingError: a column of the key is missing, or a key occurs more than once.
    """
    missing = [name for name in key if name not in rows.column_names]
    if missing:
        raise StagingError(f"{table.qualified}: the rows to score have no column {missing}")
    keys = rows.select(key)
    first_key = tuple(keys.slice(0, 1).to_pylist()[0].values())
    is_duplicate = None
    for name in key:
        after, before = keys[name].slice(1), keys[name].slice(0, len(keys) - 1)
        both_null = pc.and_(pc.is_null(after), pc.is_null(before))
        is_equal = pc.or_kleene(pc.equal(after, before), both_null).fill_null(False)
        is_duplicate = is_equal if is_duplicate is None else pc.and_(is_duplicate, is_equal)
    if first_key == previous_key or pc.any(is_duplicate).as_py():
        row = 0 if first_key == previous_key else pc.index(is_duplicate, True).as_py()
        duplicate = keys.slice(row, 1).to_pylist()[0]
        raise StagingError(
            f"{table.qualified}: the rows to score have a key ({', '.join(key)}) more than once: "
            f"{mask(tuple(duplicate.values()))}"
        )
    return tuple(keys.slice(len(keys) - 1, 1).to_pylist()[0].values())


@contextmanager
def stream_unstaged_keys(
    warehouse: Warehouse,
    eligible: str,
    parameters: Mapping[str, object],
    key: Sequence[str],
    table: Table,
    shards: Sequence[Path],
) -> Iterator[pa.RecordBatchReader]:
    """Streams the eligible keys that no shard has, each once with its reason, sorted by the key.

    Args:
        warehouse: what the query reads.
        eligible: query for the eligible keys, with a column `reason` if it likes.
        parameters: values that the query may bind.
        key: columns of the key.
        table: table of the prediction, for messages.
        shards: files of the staged rows.

    Raises:
        StagingError: a staged key is not eligible.
    """
    keys = ", ".join(key)
    same_key = " and ".join(f"eligible.{name} is not distinct from staged.{name}" for name in key)
    joined_keys = ", ".join(f"coalesce(eligible.{name}, staged.{name}) as {name}" for name in key)
    default = quote_literal(NOT_STAGED)
    staged = f"from read_parquet({quote_files(shards)}, hive_partitioning=false)"
    sql = f"""
        with eligible_keys as (
            (select null::VARCHAR as reason where false) union all by name ({eligible})
        )
        select {joined_keys}, min(coalesce(nullif(reason, ''), {default})) as {EXCLUDED},
            bool_or(is_eligible) is true as is_eligible
        from (select {keys}, reason, true as is_eligible from eligible_keys) as eligible
        full join (
            select {keys}, true as is_staged {staged if shards else "from eligible_keys limit 0"}
        ) as staged on {same_key}
        where is_staged is null or is_eligible is null
        group by {", ".join(map(str, range(1, len(key) + 1)))}
        order by is_eligible, {keys}
    """

    def checked(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if not batch["is_eligible"][0].as_py():
                example = tuple(batch.select(key).slice(0, 1).to_pylist()[0].values())
                raise StagingError(
                    f"{table.qualified}: the rows to score have a key ({keys}) that is not among "
                    f"the eligible ones: {mask(example)}"
                )
            yield batch.drop_columns(["is_eligible"])

    with warehouse.stream(sql, parameters) as reader:
        schema = reader.schema.remove(reader.schema.get_field_index("is_eligible"))
        yield pa.RecordBatchReader.from_batches(schema, checked(iter(reader)))
