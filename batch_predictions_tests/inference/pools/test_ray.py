"""Ray actors on three nodes of one machine: every row is scored when actors and nodes die."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batch_predictions.inference.pools.engine import score
from batch_predictions.inference.pools.ray import RayPool
from batch_predictions.inference.pools.ray_resources import (
    RayError,
    gpus_per_instance,
    instances_per_node,
)
from batch_predictions.settings import InferenceSettings
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.pool_fixtures import (
    GeneratorScorer,
    count_results,
    doubles,
    read_results,
    stage_users,
)

pytestmark = pytest.mark.slow

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three nodes of one CPU each, one with a GPU, on which the tests' scorers are importable."""
    from ray.cluster_utils import Cluster

    environment = {name: os.environ.get(name) for name in ("PYTHONPATH", "RAY_AUTH_MODE")}
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT)])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_AUTH_MODE"] = "disabled"
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    ray_cluster = Cluster(initialize_head=True, head_node_args=node)
    for gpus in (0, 1):  # Ray assigns the GPUs that it is given; the machine needs none.
        ray_cluster.add_node(num_cpus=1, num_gpus=gpus, object_store_memory=80 * 2**20)
    ray.init(address=ray_cluster.address, log_to_driver=False, configure_logging=False)
    ray_cluster.wait_for_nodes()
    yield ray_cluster
    ray.shutdown()
    ray_cluster.shutdown()
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def ray_settings(**settings: Any) -> InferenceSettings:
    return InferenceSettings(engine="ray", device="cpu", **settings)


def test_the_rows_are_those_of_the_local_engine(cluster: Any, warehouse: Warehouse) -> None:
    path = stage_users(warehouse)
    summary = score(path, ray_settings())
    assert (summary.scored_rows, summary.instances, summary.device) == (40, 3, "ray (cpu)")
    assert read_results(path)["twice"].to_pylist() == doubles(40)
    assert score(path, ray_settings()).scored_rows == 0


def test_actors_load_the_plugins_of_the_manifest(cluster: Any, warehouse: Warehouse) -> None:
    plugin = "batch_predictions_tests.worlds.plugin_generator"
    path = stage_users(warehouse, scorer=GeneratorScorer, plugins=(plugin,), generator="plugin_als")
    assert score(path, ray_settings()).retries == 0
    assert read_results(path)["twice"].to_pylist() == doubles(40)


def test_the_shard_of_a_killed_actor_is_scored_again(
    cluster: Any, warehouse: Warehouse, tmp_path: Path
) -> None:
    (counter := tmp_path / "counter").mkdir()
    path = stage_users(warehouse, die_at=10, die_times=1, counter_folder=str(counter))
    summary = score(path, ray_settings(workers=2))
    assert summary.retries == 1
    assert read_results(path)["twice"].to_pylist() == doubles(40)


def test_more_instances_than_the_cluster_can_place_score_every_row(
    cluster: Any, warehouse: Warehouse
) -> None:
    path = stage_users(warehouse)
    score(path, ray_settings(workers=5))
    assert read_results(path)["twice"].to_pylist() == doubles(40)


def test_instances_share_a_gpu_by_fractions_and_see_no_other(
    cluster: Any, warehouse: Warehouse, tmp_path: Path
) -> None:
    (counter := tmp_path / "counter").mkdir()
    path = stage_users(warehouse, gpu_folder=str(counter), gpu_instances=2)
    request = {"ray_num_cpus": 0.25, "ray_num_gpus": 0.5}
    summary = score(path, InferenceSettings(engine="ray", device="auto", **request))
    # The CPUs suffice for four instances, the one GPU for two.
    assert summary.instances == 2
    assert [file.read_text() for file in counter.iterdir()] == ["0", "0"]
    assert read_results(path)["twice"].to_pylist() == doubles(40)


@pytest.mark.parametrize(
    ("node", "request_", "count"),
    [
        ((16, 2), (1, 0.5), 4),
        ((16, 2), (1, 0.4), 4),  # Five times .4 is two GPUs, but no instance spans two.
        ((16, 4), (1, 2), 2),
        ((1, 0), (0.1, 0), 10),
        ((16, 0), (1, 1), 0),
        ((0, 2), (1, 1), 0),
    ],
)
def test_no_instance_spans_fractions_of_two_gpus(
    node: tuple[float, float], request_: tuple[float, float], count: int
) -> None:
    """`node` and `request_` are CPUs and GPUs."""
    settings = ray_settings(ray_num_cpus=request_[0], ray_num_gpus=request_[1])
    assert instances_per_node({"CPU": node[0], "GPU": node[1]}, settings) == count


def test_instances_request_gpus_where_the_cluster_has_any(cluster: Any) -> None:
    def gpus(**settings: Any) -> float:
        return gpus_per_instance(InferenceSettings(engine="ray", **settings))

    assert (gpus(device="auto"), gpus(device="cuda"), gpus(device="cpu")) == (1, 1, 0)
    assert gpus(device="auto", ray_num_gpus=0) == 0 and gpus(ray_num_gpus=0.25) == 0.25
    with pytest.raises(RayError, match=r"1\.5: set a fraction below 1, or a whole number"):
        gpus(ray_num_gpus=1.5)
    with pytest.raises(RayError, match="cuda and ray_num_gpus is 0"):
        gpus(device="cuda", ray_num_gpus=0)


@pytest.mark.parametrize(
    ("setting", "variable", "address"),
    [
        (None, None, "local"),
        (None, "10.0.0.1:6379", "10.0.0.1:6379"),
        ("ray://head:10001", "10.0.0.1:6379", "ray://head:10001"),
    ],
)
def test_without_an_address_ray_is_started_locally(
    setting: str | None, variable: str | None, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses: list[Any] = []

    def init(address: str | None = None, **options: Any) -> None:
        addresses.append(address)
        raise ConnectionError("no cluster")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    with pytest.raises(
        RayError, match=f"cannot connect to the Ray cluster at {address}: no cluster"
    ):
        RayPool.connect(
            Path("manifest.json"), 1, InferenceSettings(engine="ray", ray_address=setting)
        )
    assert addresses == [address]


def test_a_cluster_without_resources_is_named_with_what_is_missing(
    cluster: Any, warehouse: Warehouse
) -> None:
    path = stage_users(warehouse)
    with pytest.raises(RayError, match="requests 2 CPU and 0 GPU; the 3 nodes have 1 CPU"):
        score(path, ray_settings(ray_num_cpus=2))
    with pytest.raises(RayError, match=r"1 CPU and 2 GPU.*1 CPU and 1 GPU"):
        score(path, ray_settings(ray_num_gpus=2))

    class Blocker:
        def is_placed(self) -> bool:
            return True

    actor_class = ray.remote(num_cpus=1)(Blocker)
    blockers = [actor_class.remote() for _ in range(3)]
    ray.get([blocker.is_placed.remote() for blocker in blockers])
    with pytest.raises(RayError, match=r"placed no instance.* 0 CPU and 1 GPU are free"):
        score(path, ray_settings(workers=1, ray_patience_seconds=3))
    for blocker in blockers:
        ray.kill(blocker)


def test_the_shards_of_a_killed_node_are_scored_again(cluster: Any, warehouse: Warehouse) -> None:
    """The last test of the file: the cluster has one node less afterwards."""
    path = stage_users(warehouse, users=100, seconds=0.2)
    node = max(cluster.worker_nodes, key=lambda worker: worker.unique_id)
    killed: list[int] = []

    def kill_node(scored: int, total: int) -> None:
        if scored * 2 >= total and not killed:
            killed.append(count_results(path))
            raylet = node.all_processes["raylet"][0].process
            os.kill(raylet.pid, signal.SIGKILL)

    summary = score(path, ray_settings(), kill_node)
    assert killed and summary.retries <= 1
    assert read_results(path)["twice"].to_pylist() == doubles(100)
