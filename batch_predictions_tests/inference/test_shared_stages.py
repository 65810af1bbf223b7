"""A partition is staged on one machine and scored on others that share only a bucket."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from batch_predictions.core.durability import atomic_write, fsync_folder
from batch_predictions.core.home_bucket import bucket_of, share
from batch_predictions.inference.pools.base import ScoringError
from batch_predictions.inference.pools.engine import score
from batch_predictions.inference.pools.ray import _fetch_stage_to_node
from batch_predictions.inference.results import (
    StagingManifest,
    fetch_stage,
    is_intact,
    result_files,
    save_result,
)
from batch_predictions.settings import InferenceSettings
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.bucket import Bucket
from batch_predictions_tests.worlds.pool_fixtures import (
    ModelScorer,
    count_results,
    doubles,
    read_results,
    stage_users,
)


@pytest.fixture
def machines(
    new_home: Callable[[], Bucket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Warehouse, Warehouse]:
    """The warehouses of one home on two machines."""
    home = new_home()
    return home.machine(tmp_path / "first", monkeypatch), home.machine(
        tmp_path / "second", monkeypatch
    )


def on(warehouse: Warehouse, path: Path, other: Warehouse) -> Path:
    """The path on one machine of a file on another."""
    return Path(warehouse.home) / path.relative_to(other.home)


@pytest.mark.parametrize("kind", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_another_machine_scores_what_one_has_staged(
    kind: str, machines: tuple[Warehouse, Warehouse]
) -> None:
    here, there = machines
    names = Path(here.home) / "models" / "m" / "versions" / "m-1" / "names.txt"
    names.parent.mkdir(parents=True)
    names.write_text("a")
    fsync_folder(names.parents[1])
    path = stage_users(
        here,
        scorer=ModelScorer,
        shared=True,
        model_folder=Path("../../../..") / "models/m/versions/m-1",
    )
    settings = InferenceSettings(workers=2, device="cpu", worker_kind=kind)
    assert score(on(there, path, here), settings).scored_rows == 40
    assert count_results(path) == 0
    # Here nothing is left to score.
    assert score(path, settings).scored_rows == 0
    assert read_results(path)["twice"].to_pylist() == doubles(40)
    manifest = StagingManifest.read(path)
    assert all(map(is_intact, result_files(manifest, path)))


def test_a_machine_goes_on_where_another_was_stopped(
    machines: tuple[Warehouse, Warehouse], tmp_path: Path
) -> None:
    here, there = machines
    (counter := tmp_path / "counter").mkdir()
    path = stage_users(here, shared=True, fail_at=20, fail_times=3, counter_folder=str(counter))
    settings = InferenceSettings(workers=1, device="cpu")
    with pytest.raises(ScoringError):
        score(on(there, path, here), settings)
    done = count_results(on(there, path, here))
    summary = score(path, settings)
    assert 0 < done < 8 and summary.reused_rows == 5 * done
    assert read_results(path)["twice"].to_pylist() == doubles(40)


def test_a_result_that_comes_late_changes_nothing(machines: tuple[Warehouse, Warehouse]) -> None:
    here, there = machines
    path = stage_users(here, users=5, shared=True)
    score(path, InferenceSettings(workers=1, device="cpu"))
    [result] = result_files(StagingManifest.read(path), path)
    late = on(there, result, here)
    late.parent.mkdir(parents=True)
    save_result(b"of a worker that slept", late)
    share(late)
    late.unlink()
    fetch_stage(on(there, path, here))
    assert late.read_bytes() == result.read_bytes() and is_intact(late)


def test_a_machine_that_shares_a_folder_uploads_nothing(
    machines: tuple[Warehouse, Warehouse],
) -> None:
    here, _ = machines
    score(stage_users(here, users=5), InferenceSettings(workers=1, device="cpu"))
    bucket = bucket_of(Path(here.home))
    assert bucket is not None and bucket.objects.list() == {}


def test_shared_files_are_removed(machines: tuple[Warehouse, Warehouse]) -> None:
    here, _ = machines
    score(stage_users(here, users=5, shared=True), InferenceSettings(workers=1, device="cpu"))
    bucket = bucket_of(Path(here.home))
    assert bucket is not None and len(bucket.objects.list("inference")) == 3
    bucket.remove_shared()
    assert bucket.objects.list() == {}
    assert (bucket.root / "inference").is_dir()


def test_a_node_of_ray_gets_the_stage_and_keeps_no_old_ones_and_no_erased_users(
    machines: tuple[Warehouse, Warehouse],
) -> None:
    here, there = machines
    path = stage_users(here, users=5, shared=True)
    on_node = on(there, path, here)
    old = on_node.parents[2] / "2023-01-01" / "staged-1" / "shard-00000.parquet"
    old.parent.mkdir(parents=True)
    old.touch()
    for stale in (old, *list(old.parents)[:2]):
        os.utime(stale, (0, 0))
    _fetch_stage_to_node(on_node, keep_days=7)
    assert on_node.exists() and not old.exists()
    atomic_write(Path(here.home) / "erasures.json", "{}")
    on_node.with_name("of-an-erased-user").touch()
    _fetch_stage_to_node(on_node, keep_days=7)
    assert on_node.exists() and not on_node.with_name("of-an-erased-user").exists()
