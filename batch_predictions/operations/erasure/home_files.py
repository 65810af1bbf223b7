"""Removes users from the files beside the warehouse: shards and results, added rows, copies."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from batch_predictions.core.durability import fsync_folder
from batch_predictions.core.erasures import ErasedKeys, ErasedUsers
from batch_predictions.core.home import BACKTESTS, REPORT
from batch_predictions.core.home_lock import backtests_lock
from batch_predictions.inference.results import MANIFEST, StagingManifest, digest_path, result_path
from batch_predictions.sources.shrinkage import previous_folder

_COPIES = ("source_cache", "source_files", "source_queries", "training_cache")
"""Copies of what the source has, and what trainings keep: what needs them makes them again."""
_PENDING_REPAIRS = "pending.json"


def erase_from_shards(folder: Path, users: ErasedUsers, reviews: Collection[str]) -> int:
    """Removes stages that have a user, and the results of their shards. Returns the files removed.

    Results of other shards stay: a run that stages the day again need not score them again.

    Args:
        folder: the engine's folder.
        users: who is erased.
        reviews: ids of their reviews.
    """
    removed = 0
    for stage in sorted(folder.glob("*/*/*-*/")):
        if any(_has_user(path, users, reviews) for path in stage.glob("*.parquet")):
            for path in _results_of(stage, users, reviews):
                _remove_result(path)
                removed += 1
            shutil.rmtree(stage)
            removed += 1
    for result in sorted(folder.glob("*/*/results/*.parquet")):
        if _has_user(result, users, reviews):
            _remove_result(result)
            removed += 1
    return removed


def erase_from_added_rows(home: Path, users: ErasedUsers) -> int:
    """Removes users from rows that commands have added. Returns the files changed."""
    changed = 0
    for path in sorted((home / "additions").glob("*/*.parquet")):
        rows = pq.read_table(path)
        if "user_id" not in rows.column_names:
            continue
        stays = [not users.matches(user_id) for user_id in rows["user_id"].to_pylist()]
        if all(stays):
            continue
        draft = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
        pq.write_table(rows.filter(pa.array(stays, pa.bool_())), draft, compression="zstd")
        draft.replace(path)
        fsync_folder(path.parent)
        changed += 1
    return changed


def remove_copies(home: Path) -> int:
    """Removes copies of rows that nothing reads or that are made again. Returns their number.

    These are what the adapter has copied from the source, what trainings keep for the next, what
    ingests have replaced, and damaged files that were moved aside, of which it cannot be known what
    they have.

    Raises:
        HomeBusyError: a backtest is under way; the message names its process.
    """
    removed = 0
    if (home / BACKTESTS).is_dir():
        # One that is under way would write more rows of the user.
        with backtests_lock(home, "batch-predictions erase-user") as folder:
            shutil.rmtree(folder)
        removed += 1
    for name in _COPIES:
        if (home / name).is_dir():
            shutil.rmtree(home / name)
            removed += 1
    # Customers have numbers in it, but baskets are theirs.
    (home / REPORT).unlink(missing_ok=True)
    shutil.rmtree(home / "ingests" / ".spill", ignore_errors=True)
    shutil.rmtree(previous_folder(home), ignore_errors=True)
    for path in (home / "damaged").glob("*"):
        if path.name == _PENDING_REPAIRS:
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        removed += 1
    return removed


def _results_of(stage: Path, users: ErasedUsers, reviews: Collection[str]) -> list[Path]:
    """Results of the shards of a stage that have a user."""
    try:
        manifest = StagingManifest.read(stage / MANIFEST)
    except (OSError, ValidationError):
        return []
    paths = [
        result_path(stage / MANIFEST, shard)
        for shard in manifest.shards
        if _has_user(stage / shard.name, users, reviews)
    ]
    return [path for path in paths if path.exists()]


def _remove_result(path: Path) -> None:
    path.unlink(missing_ok=True)
    digest_path(path).unlink(missing_ok=True)


def _has_user(path: Path, users: ErasedUsers, reviews: Collection[str]) -> bool:
    """Returns whether an engine file has a row of a user; true if it cannot be read.

    The id may be in a list of structs, such as the candidates of a `top`.
    """
    keys = ErasedKeys(users.matches, review_ids=frozenset(reviews))
    try:
        with pq.ParquetFile(path) as file:
            leaves = (file.schema.column(place).path for place in range(len(file.schema.names)))
            paths = {leaf: leaf.rpartition(".")[2] for leaf in leaves}
            for leaf, column in paths.items():
                if column not in ("user_id", "review_id"):
                    continue
                for batch in file.iter_batches(columns=[leaf]):
                    values = pc.unique(_innermost(batch.column(0))).to_pylist()
                    if keys.erased(column, values):
                        return True
    except FileNotFoundError:
        return False
    except (OSError, pa.ArrowException):
        return True
    return False


def _innermost(values: pa.Array) -> pa.Array:
    """The values of a column of one leaf, out of its lists and structs."""
    while pa.types.is_nested(values.type):
        is_struct = pa.types.is_struct(values.type)
        values = pc.struct_field(values, 0) if is_struct else pc.list_flatten(values)
    return values


def remove_if_mentioned(path: Path, users: ErasedUsers) -> bool:
    """Removes a text file that has the id of a user as a word; returns whether it did."""
    with suppress(OSError):
        if users.are_in_text(path.read_text(encoding="utf-8", errors="replace")):
            path.unlink()
            return True
    return False
