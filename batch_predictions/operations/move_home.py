"""Copies a home to a bucket, to another bucket, or back to a folder: all rows, files and models.

The copy goes on where one that was stopped ended, and has its state file last: until then it is no
home. Databases stay where they are: Dagster's records, and the releases that are served.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from batch_predictions.core.bucket_files import is_local
from batch_predictions.core.durability import fsync_ancestors
from batch_predictions.core.home import HomeError, read_state, state_copy_path, state_path
from batch_predictions.core.home_bucket import bucket_of, fetch, location_of
from batch_predictions.models.model_store import ModelStore
from batch_predictions.settings import Settings
from batch_predictions.tables import TABLES, Table
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.delta_tables import count_rows, local_file
from batch_predictions.warehouse.partition_files import scratch_dir

PARTITIONS_AT_ONCE = 256
"""Partitions of one commit, and copied before the next are looked at."""


class MoveSummary(NamedTuple):
    """Counts of what a copied home has.

    Attributes:
        partitions: of tables; those that the target had already are counted too.
        rows: of the partitions.
        files: others of the home.
    """

    partitions: int
    rows: int
    files: int


def move_home(
    settings: Settings, target: Settings, on_progress: Callable[[int, int], None]
) -> MoveSummary:
    """Copies a home, of which the caller holds the lock; the copy is the home from then on.

    Args:
        settings: of the home.
        target: the same settings with the new home.
        on_progress: called with the number of partitions and files copied, and of all.

    Raises:
        HomeError: there is nothing to copy, the target has a home of its own, or a bucket cannot be
            read or written.
    """
    state = read_state(settings.home)
    if state is None:
        raise HomeError(f"{location_of(settings.home)} has no run yet: there is nothing to move")
    if read_state(target.home) is not None:
        raise HomeError(
            f"{location_of(target.home)} is a home already: choose a folder or prefix without one"
        )
    source, copy = Warehouse.of(settings), Warehouse.of(target)
    for model in (store := ModelStore.of(settings)).models():
        for version in store.versions(model):
            fetch(store.folder(model, version))
    tables = {table: _files(source, table) for table in TABLES.values()}
    names = list(_names(settings.home))
    total, done, rows = sum(map(len, tables.values())) + len(names), 0, 0
    for table, paths in tables.items():
        for start in range(0, len(paths), PARTITIONS_AT_ONCE):
            some = paths[start : start + PARTITIONS_AT_ONCE]
            rows += _copy_partitions(source, copy, table, some)
            done += len(some)
            on_progress(done, total)
        gone = {path.relative_to(copy.folder) for path in _files(copy, table)}
        gone -= {path.relative_to(source.folder) for path in paths}
        copy.remove_files(table, [copy.folder / path for path in sorted(gone)])
    for name in names:
        _copy_file(settings.home / name, target.home / name)
        done += 1
        on_progress(done, total)
    bucket = bucket_of(target.home)
    for path in (state_copy_path(settings.home), state_path(settings.home)):
        if bucket is not None:
            # All files but the state are there before it.
            bucket.pull()
        _copy_file(path, target.home / path.relative_to(settings.home))
    if bucket is not None:
        bucket.pull()
    fsync_ancestors(target.home, target.home)
    with copy.connect():
        pass  # Makes the file of views.
    return MoveSummary(total - len(names), rows, len(names) + 2)


def _files(warehouse: Warehouse, table: Table) -> Sequence[Path]:
    folder = warehouse.folder / table.schema / table.name
    return sorted(folder.glob("/".join((*(f"{name}=*" for name in table.folders), "data.parquet"))))


def _names(home: Path) -> Iterator[str]:
    """Files of a home that are no partitions, without its state."""
    for path in sorted(home.rglob("*")):
        name = path.relative_to(home).as_posix()
        is_state = path in (state_path(home), state_copy_path(home))
        if path.is_file() and not is_local(name) and not is_state:
            yield name


def _copy_partitions(
    source: Warehouse, copy: Warehouse, table: Table, paths: Sequence[Path]
) -> int:
    """Copies partitions that the copy lacks or has otherwise. Returns their number of rows."""
    targets = {path: copy.folder / path.relative_to(source.folder) for path in paths}
    digests, copied = source.digests(table), copy.digests(table)
    due = {
        path: target
        for path, target in targets.items()
        if not (target.exists() and copied.get(target) == digests.verify(path))
    }
    with scratch_dir(copy.folder) as scratch:
        drafts = {}
        for number, (path, target) in enumerate(due.items()):
            drafts[target] = scratch / f"{number}.parquet"
            shutil.copyfile(local_file(path), drafts[target])
            # What was made when stays known: what is older than its inputs is made again.
            shutil.copystat(path, drafts[target])
        copy.replace_files(table, drafts, {due[path]: count_rows(path) for path in due})
    return sum(map(count_rows, paths))


def _copy_file(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    shutil.copyfile(path, draft)
    shutil.copystat(path, draft)
    draft.replace(target)
