"""A home is copied to a bucket and back, whatever stops it in between."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from batch_predictions.core.home import HomeError, read_state, state_path
from batch_predictions.core.home_bucket import CACHE_VARIABLE, bucket_of, working_folder
from batch_predictions.models.model_store import ModelStore
from batch_predictions.operations.move_home import MoveSummary, move_home
from batch_predictions.settings import Settings
from batch_predictions.tables import TABLES
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.bucket import Bucket
from batch_predictions_tests.worlds.home_state import STATE
from batch_predictions_tests.worlds.small_home import write_small_home

LISTS = TABLES["predictions.recommendations"]


@pytest.fixture
def local(tmp_path: Path) -> Settings:
    world = write_small_home(tmp_path / "home", "a")
    world.store.close()
    return world.settings


@pytest.fixture
def bucket(
    new_home: Callable[[], Bucket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings of an empty home in a bucket."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return Settings(home=working_folder(new_home().url))


def copy(source: Settings, target: Settings, stop_at: int | None = None) -> MoveSummary:
    def on_progress(done: int, total: int) -> None:
        assert done <= total
        if stop_at is not None and done >= stop_at:
            raise KeyboardInterrupt

    return move_home(source, target, on_progress)


def content(settings: Settings) -> dict[str, object]:
    """All rows, models and decisions of a home."""
    warehouse, models = Warehouse.of(settings), ModelStore.of(settings)
    rows = {n: warehouse.query(f"from {n} order by all").to_pylist() for n in TABLES}
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for model in models.models()
        for version in models.versions(model)
        for folder in [models.verified_folder(model, version)]
        for path in folder.rglob("*")
        if path.is_file()
    }
    return {"rows": rows, "files": files, "decisions": models.decisions("churn")}


def test_a_home_is_the_same_in_a_bucket_and_back(
    local: Settings, bucket: Settings, tmp_path: Path
) -> None:
    expected = content(local)
    there = copy(local, bucket)
    assert content(bucket) == expected and read_state(bucket.home) == STATE
    # Another machine has nothing but the URL.
    opened = bucket_of(bucket.home)
    assert opened is not None
    shutil.rmtree(tmp_path / "home")
    back = local.model_copy(update={"home": tmp_path / "back"})
    assert copy(bucket, back)[:2] == there[:2]
    assert content(back) == expected and read_state(back.home) == STATE
    assert (back.home / "warehouse.duckdb").exists()


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [1, 3, 6])
def test_a_copy_that_was_stopped_goes_on(stop_at: int, local: Settings, bucket: Settings) -> None:
    with pytest.raises(KeyboardInterrupt):
        copy(local, bucket, stop_at)
    assert not state_path(bucket.home).exists()
    before = Warehouse.of(bucket).versions()
    # What has changed and gone meanwhile is so in the copy.
    source = Warehouse.of(local)
    [day] = source.partitions(LISTS)
    source.replace_partition(
        LISTS, "2023-01-01", f"select * exclude (date) from {LISTS.qualified} limit 1"
    )
    source.remove_partition(LISTS, day)
    copy(local, bucket)
    assert content(bucket) == content(local)
    unchanged = TABLES["features.user_segments"].qualified
    if unchanged in before:
        assert Warehouse.of(bucket).versions()[unchanged] == before[unchanged]


def test_a_home_is_not_copied_over_another(local: Settings, bucket: Settings) -> None:
    copy(local, bucket)
    with pytest.raises(HomeError, match="is a home already"):
        copy(local, bucket)
    with pytest.raises(HomeError, match="there is nothing to move"):
        copy(local.model_copy(update={"home": local.home / "none"}), bucket)
