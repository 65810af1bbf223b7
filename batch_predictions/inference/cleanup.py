"""What is removed from the engine's folder: partitions no longer needed, drafts of dead workers."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from batch_predictions.inference.staging import MANIFEST, StagingManifest, result_path

DAY_SECONDS = 86_400
DRAFT_SECONDS = 3600.0
"""Older drafts are of workers that were killed; one lives for moments."""


def sweep(
    folder: Path, keep_days: int, now: float | None = None, keep_partitions: int | None = None
) -> int:
    """Removes what is no longer needed to resume: partitions' shards and results.

    Args:
        folder: the engine's, with a folder for each prediction.
        keep_days: what was not touched for so long goes.
        now: seconds since the epoch.
        keep_partitions: of a prediction, beyond so many what was touched longest ago goes before;
            never what was touched within a day or waits to be scored, for a backfill stages all
            its days first.

    Returns:
        How many partitions went.
    """
    now = time.time() if now is None else now
    removed = 0
    for prediction in folder.glob("*"):
        places = [(_touched(place), place) for place in prediction.glob("*") if place.is_dir()]
        places.sort(reverse=True)
        for number, (touched, place) in enumerate(places):
            # Handles of runs, which a hidden folder holds, are counted by nobody.
            many = keep_partitions is not None and number >= keep_partitions
            early = many and not prediction.name.startswith(".")
            days = (now - touched) / DAY_SECONDS
            if days > keep_days or (early and days > 1 and _finished(place)):
                shutil.rmtree(place, ignore_errors=True)
                removed += 1
    return removed


def _finished(place: Path) -> bool:
    """Whether every stage of a partition has all its results."""
    return all(
        result_path(path, shard).exists()
        for path in place.glob(f"staged-*/{MANIFEST}")
        for shard in StagingManifest.read(path).shards
    )


def _touched(folder: Path) -> float:
    """When something in a folder last changed; what others remove meanwhile counts for nothing."""
    newest = 0.0
    for parent, _, names in os.walk(folder):
        for name in (".", *names):
            with suppress(FileNotFoundError):
                newest = max(newest, (Path(parent) / name).stat().st_mtime)
    return newest


def sweep_drafts(results: Path, now: float | None = None) -> None:
    """Removes what workers that were killed while writing have left."""
    oldest = (time.time() if now is None else now) - DRAFT_SECONDS
    for draft in results.glob(".*.parquet-*"):
        with suppress(FileNotFoundError):
            if draft.stat().st_mtime < oldest:
                draft.unlink()
