"""Removes old partitions of the engine's folder, and drafts of killed workers."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from batch_predictions.inference.results import MANIFEST, StagingManifest, result_files

DAY_SECONDS = 86_400
HANDLES = ".handles"
"""Folder with a folder of each run: the paths that its steps pass on."""
MAX_DRAFT_SECONDS = 3600.0
"""An older draft belongs to a killed worker: writing one takes well under a second."""


def remove_old_partitions(
    folder: Path,
    keep_days: int,
    now: float | None = None,
    keep_partitions: int | None = None,
    live_runs: Collection[str] = (),
) -> int:
    """Removes shards and results of partitions that need not be resumed.

    Times tell nothing of what is in use, for a clock may be set while a run works: what unfinished
    runs have staged stays, however old it seems.

    Args:
        folder: the engine's folder, with a folder for each prediction.
        keep_days: partitions without a change for longer are removed.
        now: seconds since the epoch; None: the present.
        keep_partitions: of each prediction, partitions beyond this number are removed before
            `keep_days`, oldest change first. Kept are those that changed within a day and those
            that are not scored yet, for a backfill stages all its days first. None: no bound.
        live_runs: ids of unfinished runs.

    Returns:
        The number of partitions removed.
    """
    now = time.time() if now is None else now
    in_use = _in_use(folder, live_runs)
    removed = 0
    for prediction in folder.glob("*"):
        # Hidden folders hold the handles of runs, not partitions.
        bound = None if prediction.name.startswith(".") else keep_partitions
        changes = [(_last_change(path), path) for path in prediction.glob("*") if path.is_dir()]
        changes.sort(reverse=True)
        for number, (changed, path) in enumerate(changes):
            if path.absolute() in in_use:
                continue
            days = (now - changed) / DAY_SECONDS
            is_surplus = bound is not None and number >= bound and days > 1
            if days > keep_days or (is_surplus and _is_scored(path)):
                shutil.rmtree(path, ignore_errors=True)
                removed += 1
    return removed


def _in_use(folder: Path, runs: Collection[str]) -> set[Path]:
    """The folders of runs with their handles, and the partitions that these name."""
    in_use = set()
    for run in runs:
        handles = folder.absolute() / HANDLES / run
        in_use.add(handles)
        for file in handles.glob("*.json"):
            with suppress(FileNotFoundError):
                manifest_paths = json.loads(file.read_text("utf-8")).values()
                home = folder.absolute().parent
                in_use.update((home / path).parent.parent for path in manifest_paths)
    return in_use


def remove_stale_drafts(results: Path, now: float | None = None) -> None:
    """Removes drafts of results that killed workers have left."""
    oldest = (time.time() if now is None else now) - MAX_DRAFT_SECONDS
    for draft in results.glob(".*-*"):
        with suppress(FileNotFoundError):
            if draft.stat().st_mtime < oldest:
                draft.unlink()


def _is_scored(partition: Path) -> bool:
    """Returns whether all stages of a partition that this version can read have all results."""
    for path in partition.glob(f"staged-*/{MANIFEST}"):
        with suppress(ValidationError):
            if not all(file.exists() for file in result_files(StagingManifest.read(path), path)):
                return False
    return True


def _last_change(folder: Path) -> float:
    """Newest modification time in a folder; ignores files that are removed meanwhile."""
    newest = 0.0
    for parent, _, names in os.walk(folder):
        for name in (".", *names):
            with suppress(FileNotFoundError):
                newest = max(newest, (Path(parent) / name).stat().st_mtime)
    return newest
