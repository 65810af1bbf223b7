"""Cleanup: old partitions and drafts are removed, unfinished ones are kept."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from batch_predictions.inference.cleanup import HANDLES, remove_old_partitions
from batch_predictions.inference.pools.engine import score
from batch_predictions.inference.results import StagingManifest, digest_path, result_path
from batch_predictions.settings import InferenceSettings
from batch_predictions_tests.worlds.engine import Staging


def set_age(path: Path, days: float) -> None:
    """Sets the modification times of the partition of a manifest."""
    seconds = time.time() - days * 86_400
    partition = path.parent.parent
    for file in [partition, *partition.rglob("*")]:
        os.utime(file, (seconds, seconds))


def test_a_partition_without_a_change_for_keep_days_is_removed(stage: Staging) -> None:
    old, new = stage(partition="2024-03-01"), stage(partition="2024-03-02")
    set_age(old, 8)
    assert remove_old_partitions(stage.folder, 9) == 0
    assert remove_old_partitions(stage.folder, 7) == 1
    assert not old.exists() and new.exists()


def test_surplus_partitions_are_removed_oldest_first(
    stage: Staging, one_worker: InferenceSettings
) -> None:
    paths = [stage(partition=f"2024-03-0{day}") for day in range(1, 7)]
    for path in paths[:-1]:  # The last one is not scored yet.
        score(path, one_worker)
    for path, days in zip(paths, (0.5, 2, 5, 3, 0.1, 6), strict=True):
        set_age(path, days)
    (handles := stage.folder / ".handles" / "a-run").mkdir(parents=True)
    os.utime(handles, (time.time() - 4 * 86_400,) * 2)
    assert remove_old_partitions(stage.folder, 7, keep_partitions=6) == 0
    assert remove_old_partitions(stage.folder, 7, keep_partitions=3) == 2
    assert [path.exists() for path in paths] == [True, True, False, False, True, True]
    # Partitions that changed within a day, or that are not scored, are kept.
    assert remove_old_partitions(stage.folder, 7, keep_partitions=1) == 1
    assert [path.exists() for path in paths] == [True, False, False, False, True, True]
    assert handles.exists()


def test_what_an_unfinished_run_has_staged_is_kept_whatever_the_clock_says(
    stage: Staging,
) -> None:
    paths = {run: stage(partition=f"2024-03-0{n}") for n, run in enumerate(("live", "dead"), 1)}
    handles = {run: stage.folder / HANDLES / run for run in paths}
    for run, folder in handles.items():
        folder.mkdir(parents=True)
        (folder / "stage.result.json").write_text(json.dumps({"2024-03-01": str(paths[run])}))
    # The clock is set a year ahead.
    later = time.time() + 365 * 86_400
    assert remove_old_partitions(stage.folder, 7, later, 1, live_runs=["live", "new"]) == 2
    assert [path.exists() for path in (*paths.values(), *handles.values())] == [
        True,
        False,
        True,
        False,
    ]


def test_a_manifest_of_another_version_can_be_removed(stage: Staging) -> None:
    paths = [stage(partition=f"2024-03-0{day}") for day in (1, 2)]
    paths[0].write_text('{"table": "predictions.doubles"}')
    for path in paths:
        set_age(path, 2)
    assert remove_old_partitions(stage.folder, 7, keep_partitions=0) == 1
    assert [path.exists() for path in paths] == [False, True]


def test_a_new_result_keeps_its_old_stage(stage: Staging) -> None:
    path = stage()
    results = path.parent.parent / "results"
    results.mkdir()
    set_age(path, 8)
    (results / "new.parquet").write_bytes(b"x")
    assert remove_old_partitions(stage.folder, 7) == 0
    assert path.exists()


def test_files_that_another_process_removes_are_ignored(stage: Staging) -> None:
    path = stage()
    # Like a draft that is renamed between listing and stat: stat fails.
    (path.parent / ".draft").symlink_to(path.parent / "nowhere")
    assert remove_old_partitions(stage.folder, 7) == 0
    assert remove_old_partitions(stage.folder / "missing", 7) == 0


def test_keep_days_is_at_least_one() -> None:
    """With 0, another prediction's run would remove a stage before it is scored."""
    with pytest.raises(ValueError, match="keep_days"):
        InferenceSettings(keep_days=0)


def test_stale_drafts_are_removed_and_recent_ones_kept(
    stage: Staging, one_worker: InferenceSettings
) -> None:
    path = stage(4)
    file = result_path(path, StagingManifest.read(path).shards[0])
    file.parent.mkdir()
    stale, recent = (file.with_name(f".{file.name}-{name}") for name in ("stale", "recent"))
    stale.write_bytes(b"half")
    recent.write_bytes(b"half")
    os.utime(stale, (1e9, 1e9))
    score(path, one_worker)
    names = sorted([recent.name, file.name, digest_path(file).name])
    assert sorted(f.name for f in file.parent.iterdir()) == names
