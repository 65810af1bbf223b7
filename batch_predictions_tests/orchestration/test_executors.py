"""Where steps run: by setting, with the same rows."""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from batch_predictions.features import declared_features
from batch_predictions.features.assets import feature_asset, tile_asset
from batch_predictions.features.tiles.base import TILES
from batch_predictions.inference.dagster.assets import GPU, step_tags
from batch_predictions.inference.pools.ray import actor_variables
from batch_predictions.models.training import trainings
from batch_predictions.models.training_assets import training_asset
from batch_predictions.orchestration.executors import executor_of, inherited_env
from batch_predictions.orchestration.instance import prepare
from batch_predictions.predictions.churn import ChurnScorer
from batch_predictions.predictions.recommendation_scorer import RecommendationScorer
from batch_predictions.predictions.review_sentiments import ReviewScorer
from batch_predictions.settings import ExecutionSettings, InferenceSettings, Settings, SettingsError
from batch_predictions_tests.worlds.home import PARTITIONS
from batch_predictions_tests.worlds.programs import run_python
from batch_predictions_tests.worlds.retail_fixtures import environment, run_json, write_shop


def settings(home: Path, **execution: Any) -> Settings:
    return Settings(home=home, execution=ExecutionSettings(**execution))


@pytest.mark.parametrize("name", ["in_process", "multiprocess"])
def test_the_executor_follows_the_settings(tmp_path: Path, name: str) -> None:
    assert executor_of(settings(tmp_path, executor=name)).name == name


def test_steps_as_jobs_of_kubernetes(tmp_path: Path) -> None:
    """With the configuration of dagster-k8s, which sets a job's image, volumes and resources."""
    pytest.importorskip(
        "dagster_k8s", reason="dagster-k8s is not installed: pip install -e '.[kubernetes]'"
    )
    from dagster_k8s import k8s_job_executor

    executor = executor_of(settings(tmp_path, executor="kubernetes"))
    assert executor.name == "k8s" and executor.config_schema is k8s_job_executor.config_schema


@pytest.mark.parametrize("name", ["kubernetes", "ray"])
def test_an_executor_whose_extra_is_missing_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    module = {"kubernetes": "dagster_k8s", "ray": "dagster_ray"}[name]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingsError, match=rf"batch-predictions\[{name}\]"):
        executor_of(settings(tmp_path, executor=name))


def test_steps_on_the_cpu_request_no_gpu(tmp_path: Path) -> None:
    assert step_tags(settings(tmp_path), RecommendationScorer) == GPU
    assert step_tags(settings(tmp_path), ReviewScorer) == GPU, "its model may be a net"
    assert step_tags(settings(tmp_path), ChurnScorer) == {}
    on_cpu = Settings(home=tmp_path, inference=InferenceSettings(device="cpu"))
    assert step_tags(on_cpu, RecommendationScorer) == {}


def test_features_and_trainings_request_a_large_node(tmp_path: Path) -> None:
    large = settings(tmp_path, large_step_cpus=16, large_step_memory_gb=64)
    wanted = large.execution.large_step_tags()
    assets = [
        training_asset(trainings()["churn"], PARTITIONS, large),
        tile_asset(TILES["tiles.user_items"], PARTITIONS, large),
        feature_asset(declared_features.user_activity, PARTITIONS, large),
    ]
    for asset in assets:
        assert {name: json.loads(asset.op.tags[name]) for name in wanted} == wanted
    tags = {name: json.dumps(value) for name, value in wanted.items()}
    if importlib.util.find_spec("dagster_ray"):
        from dagster_ray.configs import RayExecutionConfig

        ray = RayExecutionConfig.from_tags(tags)
        assert (ray.num_cpus, ray.memory) == (16, 64_000_000_000)
    if importlib.util.find_spec("dagster_k8s"):
        from dagster_k8s.job import get_user_defined_k8s_config

        container = get_user_defined_k8s_config(tags).container_config
        assert container["resources"] == {"requests": {"cpu": "16", "memory": "64G"}}
    only_memory = settings(tmp_path, large_step_memory_gb=2.5).execution.large_step_tags()
    assert only_memory["dagster-ray/config"] == {"memory": 2_500_000_000}
    small = training_asset(trainings()["churn"], PARTITIONS, settings(tmp_path))
    assert "dagster-ray/config" not in small.op.tags


def test_settings_are_merged_into_dagster_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    launcher = {"module": "dagster_ray", "class": "RayRunLauncher"}
    folder = prepare(settings(tmp_path, instance={"run_launcher": launcher}))
    config = yaml.safe_load((folder / "dagster.yaml").read_text())
    assert config["run_launcher"] == launcher and config["telemetry"] == {"enabled": False}
    assert os.environ["DAGSTER_HOME"] == str(folder)
    plain = yaml.safe_load((prepare(settings(tmp_path)) / "dagster.yaml").read_text())
    assert "run_launcher" not in plain and plain["concurrency"] == config["concurrency"]


def test_a_ray_launcher_gets_the_settings_by_name_and_the_home_by_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("BATCH_PREDICTIONS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("BATCH_PREDICTIONS_SERVING__URL", "postgresql://secret")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    folder = prepare(settings(tmp_path, launcher="ray"))
    text = (folder / "dagster.yaml").read_text()
    launcher = yaml.safe_load(text)["run_launcher"]
    assert (launcher["module"], launcher["class"]) == ("dagster_ray", "RayRunLauncher")
    assert launcher["config"]["ray"] == {
        "address": "http://127.0.0.1:8265",
        "env_vars": [
            f"BATCH_PREDICTIONS_HOME={tmp_path}",
            "BATCH_PREDICTIONS_SERVING__URL",
            "RAY_USAGE_STATS_ENABLED",
        ],
    }
    assert "secret" not in text
    prepare(settings(tmp_path, launcher="ray", ray_jobs="http://head:1"))
    assert "http://head:1" in (folder / "dagster.yaml").read_text()


def test_variables_with_a_password_do_not_go_through_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray shows and logs the variables of its jobs."""
    for name in [name for name in os.environ if name.startswith("BATCH_PREDICTIONS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("BATCH_PREDICTIONS_SERVING__URL", "postgresql+psycopg://u:s3cret@h/d")
    monkeypatch.setenv("BATCH_PREDICTIONS_SOURCE", '{"url": "postgresql://u:s3cret@h/d"}')
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with_ray = settings(tmp_path, launcher="ray")
    assert "s3cret" not in str(inherited_env(with_ray)) + str(actor_variables())
    withheld = "BATCH_PREDICTIONS_SERVING__URL,BATCH_PREDICTIONS_SOURCE"
    text = (prepare(with_ray) / "dagster.yaml").read_text()
    assert yaml.safe_load(text)["run_launcher"]["config"]["ray"]["env_vars"] == [
        f"BATCH_PREDICTIONS_HOME={tmp_path}",
        f"BATCH_PREDICTIONS_WITHHELD_VARIABLES={withheld}",
        "RAY_USAGE_STATS_ENABLED",
    ]
    monkeypatch.setenv("RAY_ADDRESS", "http://u:s3cret@head:8265")
    with pytest.raises(SettingsError, match="RAY_ADDRESS has a password") as caught:
        prepare(with_ray)
    assert "s3cret" not in str(caught.value)


@pytest.fixture(scope="module")
def job_server() -> Iterator[str]:
    """The address of a local Ray cluster that accepts jobs."""
    pytest.importorskip(
        "dagster_ray", reason="dagster-ray is not installed: pip install -e '.[ray]'"
    )
    pytest.importorskip("aiohttp", reason="ray[default] is not installed: pip install -e '.[ray]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bin_ = Path(sys.executable).parent
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    # A step's command is looked for in the nodes' PATH.
    path = os.pathsep.join([str(bin_), os.environ.get("PATH", "")])
    begin = ["start", "--head", "--block", "--num-cpus=2", "--port=0", "--dashboard-host=127.0.0.1"]
    begin += [f"--dashboard-port={port}", "--object-store-memory=80000000"]
    head = subprocess.Popen(
        [str(bin_ / "ray"), *begin],
        env={**os.environ, **quiet, "PATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield _answering(f"http://127.0.0.1:{port}", head)
    finally:
        # Asked politely, Ray takes half a minute to go.
        os.killpg(head.pid, signal.SIGKILL)
        head.wait(60)


def _answering(address: str, head: subprocess.Popen[bytes]) -> str:
    """The address, as soon as the server there takes jobs."""
    for _ in range(1200):
        assert head.poll() is None, "Ray's head has ended"
        try:
            urllib.request.urlopen(f"{address}/api/jobs/", timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return address
    raise AssertionError("Ray's job server does not answer")


ONE_ASSET = """
import dagster as dg
from batch_predictions.orchestration.instance import prepare
from batch_predictions.definitions import defs
from batch_predictions.settings import Settings

prepare(Settings.load())
nightly = dg.build_reconstructable_job(
    "batch_predictions.definitions", "job", reconstructable_args=("nightly",)
)
chosen = [dg.AssetKey(["predictions", "demographic_recommendations"])]
with dg.execute_job(
    nightly, instance=dg.DagsterInstance.get(), asset_selection=chosen,
    tags={"dagster/partition": "2024-03-16"},
) as result:
    assert result.success
    messages = [event.message for event in result.all_events if "Ray job" in (event.message or "")]
    assert len(messages) >= 3, messages
"""


@pytest.mark.slow
def test_steps_that_run_as_ray_jobs_write_the_same_rows(job_server: str, tmp_path: Path) -> None:
    last = dt.date(2024, 3, 17)
    write_shop(tmp_path / "source", days=35, last=last)
    env = environment(tmp_path / "home", tmp_path / "source", RAY_AUTH_MODE="disabled")
    only = ("--only", "demographic_recommendations")
    run_json("run", "--date", "2024-03-16", *only, env=env, cwd=tmp_path)
    table = tmp_path / "home" / "warehouse" / "predictions" / "demographic_recommendations"
    [file] = table.glob("date=2024-03-16/data.parquet")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    file.unlink()
    overrides = {
        "BATCH_PREDICTIONS_EXECUTION__EXECUTOR": "ray",
        "BATCH_PREDICTIONS_EXECUTION__RAY_JOBS": job_server,
        "BATCH_PREDICTIONS_INFERENCE__DEVICE": "cpu",
    }
    run_python("-c", ONE_ASSET, env={**env, **overrides}, cwd=tmp_path)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest


@pytest.mark.slow
def test_a_run_that_a_ray_launcher_starts_ingests_the_day(job_server: str, tmp_path: Path) -> None:
    write_shop(tmp_path / "source", days=7, last=dt.date(2024, 3, 17))
    # Launched directly: a queued run would need the daemon.
    at_once = {"module": "dagster.core.run_coordinator", "class": "DefaultRunCoordinator"}
    env = environment(
        tmp_path / "home",
        tmp_path / "source",
        RAY_AUTH_MODE="disabled",
        RAY_USAGE_STATS_ENABLED="0",
        BATCH_PREDICTIONS_EXECUTION__LAUNCHER="ray",
        BATCH_PREDICTIONS_EXECUTION__RAY_JOBS=job_server,
        BATCH_PREDICTIONS_EXECUTION__INSTANCE=json.dumps({"run_coordinator": at_once}),
        DAGSTER_HOME=str(tmp_path / "home" / "dagster"),
    )
    prepared = (
        "from batch_predictions.orchestration.instance import prepare; "
        "from batch_predictions.settings import Settings; prepare(Settings.load())"
    )
    run_python("-c", prepared, env=env, cwd=tmp_path)
    launch = ["-m", "dagster", "job", "launch", "-j", "ingest", "--tags"]
    tags = json.dumps({"dagster/partition": "2024-03-16"})
    run_python(*launch, tags, "-m", "batch_predictions.definitions", env=env, cwd=tmp_path)
    day = tmp_path / "home" / "warehouse" / "raw" / "interactions" / "date=2024-03-16"
    instance = dg.DagsterInstance.from_config(env["DAGSTER_HOME"])
    for _ in range(240):
        [run] = instance.get_runs()
        if run.is_finished:
            break
        time.sleep(0.5)
    assert run.status is dg.DagsterRunStatus.SUCCESS and (day / "data.parquet").exists()
    with urllib.request.urlopen(f"{job_server}/api/jobs/", timeout=5) as answer:
        jobs = {job["submission_id"]: job["status"] for job in json.load(answer)}
    # The run says that it is done shortly before its process ends.
    assert jobs[f"dagster-run-{run.run_id}"] in {"RUNNING", "SUCCEEDED"}
