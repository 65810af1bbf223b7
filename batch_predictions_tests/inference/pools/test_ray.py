"""The Ray crew on three nodes of one machine: the same rows whatever dies, no silent waiting."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batch_predictions.inference.engine import score
from batch_predictions.inference.pools.ray import RayError, RayPool, _gpus, _instances_per_node
from batch_predictions.settings import InferenceSettings
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.pool_fixtures import results, scored_shards, staged

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three nodes of one CPU each, one with a GPU, which find the tests' scorers."""
    from ray.cluster_utils import Cluster

    before = {name: os.environ.get(name) for name in ("PYTHONPATH", "RAY_AUTH_MODE")}
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT)])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_AUTH_MODE"] = "disabled"
    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=small)
    for gpus in (0, 1):  # Ray deals what it is told of; there is no GPU.
        made.add_node(num_cpus=1, num_gpus=gpus, object_store_memory=80 * 2**20)
    ray.init(address=made.address, log_to_driver=False, configure_logging=False)
    made.wait_for_nodes()
    yield made
    ray.shutdown()
    made.shutdown()
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def inference(**more: Any) -> InferenceSettings:
    return InferenceSettings(engine="ray", device="cpu", **more)


def twice(rows: int) -> list[int]:
    return [2 * row for row in range(rows)]


def test_the_rows_are_those_of_the_local_engine(cluster: Any, warehouse: Warehouse):
    path = staged(warehouse)
    done = score(path, inference())
    assert (done.scored, done.instances, done.device) == (40, 3, "ray (cpu)")
    assert results(path)["twice"].to_pylist() == twice(40)
    assert score(path, inference()).scored == 0


def test_an_actor_that_is_killed_costs_its_shard_once(
    cluster: Any, warehouse: Warehouse, tmp_path: Path
):
    (marks := tmp_path / "marks").mkdir()
    path = staged(warehouse, die_at=10, die_times=1, marks=str(marks))
    done = score(path, inference(workers=2))
    assert done.retried == 1
    assert results(path)["twice"].to_pylist() == twice(40)


def test_more_instances_than_places_still_score_everything(cluster: Any, warehouse: Warehouse):
    path = staged(warehouse)
    score(path, inference(workers=5))
    assert results(path)["twice"].to_pylist() == twice(40)


def test_instances_share_a_gpu_by_parts_and_see_no_other(
    cluster: Any, warehouse: Warehouse, tmp_path: Path
):
    (marks := tmp_path / "marks").mkdir()
    path = staged(warehouse, seconds=0.1, say_gpus_in=str(marks))
    parts = {"ray_num_cpus": 0.25, "ray_num_gpus": 0.5}
    done = score(path, InferenceSettings(engine="ray", device="auto", **parts))
    # Four would have the CPU; the one GPU has two halves.
    assert done.instances == 2
    assert [each.read_text() for each in marks.iterdir()] == ["0", "0"]
    assert results(path)["twice"].to_pylist() == twice(40)


def test_what_a_node_holds_is_counted_by_whole_gpus():
    def held(cpus: float, gpus: float, of_cpus: float, of_gpus: float) -> int:
        asked = inference(ray_num_cpus=of_cpus, ray_num_gpus=of_gpus)
        return _instances_per_node({"CPU": cpus, "GPU": gpus}, asked)

    assert held(16, 2, 1, 0.5) == 4
    assert held(16, 2, 1, 0.4) == 4  # Five parts of .4 make two GPUs, but no part spans two.
    assert held(16, 4, 1, 2) == 2
    assert held(1, 0, 0.1, 0) == 10
    assert held(16, 0, 1, 1) == held(0, 2, 1, 1) == 0


def test_gpus_are_asked_for_where_the_cluster_has_them(cluster: Any):
    def asked(**more: Any) -> float:
        return _gpus(InferenceSettings(engine="ray", **more))

    assert (asked(device="auto"), asked(device="cuda"), asked(device="cpu")) == (1, 1, 0)
    assert asked(device="auto", ray_num_gpus=0) == 0 and asked(ray_num_gpus=0.25) == 0.25
    with pytest.raises(RayError, match=r"1\.5: set a fraction of one GPU, or whole ones"):
        asked(ray_num_gpus=1.5)
    with pytest.raises(RayError, match="cuda and ray_num_gpus 0"):
        asked(device="cuda", ray_num_gpus=0)


@pytest.mark.parametrize(
    ("setting", "variable", "entered"),
    [
        (None, None, "local"),
        (None, "10.0.0.1:6379", "10.0.0.1:6379"),
        ("ray://head:10001", "10.0.0.1:6379", "ray://head:10001"),
    ],
)
def test_without_an_address_no_cluster_of_another_is_entered(
    setting: str | None, variable: str | None, entered: str, monkeypatch: pytest.MonkeyPatch
):
    asked: list[Any] = []

    def init(address: str | None = None, **more: Any) -> None:
        asked.append(address)
        raise ConnectionError("nobody is there")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    with pytest.raises(RayError, match=f"the Ray cluster at {entered} cannot be entered"):
        RayPool.connect(
            Path("manifest.json"), 1, InferenceSettings(engine="ray", ray_address=setting)
        )
    assert asked == [entered]


def test_a_cluster_without_room_says_what_is_missing(cluster: Any, warehouse: Warehouse):
    path = staged(warehouse)
    with pytest.raises(RayError, match="asks for 2 CPU and 0 GPU; the 3 nodes have 1 CPU"):
        score(path, inference(ray_num_cpus=2))
    with pytest.raises(RayError, match=r"1 CPU and 2 GPU.*1 CPU and 1 GPU"):
        score(path, inference(ray_num_gpus=2))

    @ray.remote(num_cpus=1)
    class Squatter:
        def here(self) -> bool:
            return True

    squatters = [Squatter.remote() for _ in range(3)]
    ray.get([each.here.remote() for each in squatters])
    with pytest.raises(RayError, match=r"no instance was placed.*there are 0 CPU"):
        score(path, inference(workers=1, ray_patience_seconds=3))
    for each in squatters:
        ray.kill(each)


def test_a_node_that_is_killed_half_way_costs_the_shards_it_held(
    cluster: Any, warehouse: Warehouse
):
    """Last in the file: the cluster is a node short afterwards."""
    path = staged(warehouse, rows=100, seconds=0.2)
    node = max(cluster.worker_nodes, key=lambda each: each.unique_id)
    killed = []

    def kill(done: int, total: int) -> None:
        if done * 2 >= total and not killed:
            killed.append(scored_shards(path))
            raylet = node.all_processes["raylet"][0].process
            os.kill(raylet.pid, signal.SIGKILL)

    done = score(path, inference(), kill)
    assert killed and done.retried <= 1
    assert results(path)["twice"].to_pylist() == twice(100)
