"""Where steps run: by setting, with the same rows."""

from __future__ import annotations

import datetime as dt
import hashlib
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

import pytest
import yaml
from shops import as_json, environment, write_shop

from batch_predictions.automation.executors import executor_of
from batch_predictions.automation.instance import prepare
from batch_predictions.inference.assets import GPU, step_tags
from batch_predictions.settings import ExecutionSettings, InferenceSettings, Settings


def settings(home: Path, **execution: Any) -> Settings:
    return Settings(home=home, execution=ExecutionSettings(**execution))


@pytest.mark.parametrize("name", ["in_process", "multiprocess"])
def test_the_executor_is_the_one_that_is_set(tmp_path: Path, name: str) -> None:
    assert executor_of(settings(tmp_path, executor=name)).name == name


def test_a_processor_alone_asks_for_no_gpu(tmp_path: Path) -> None:
    assert step_tags(settings(tmp_path)) == GPU
    assert step_tags(Settings(home=tmp_path, inference=InferenceSettings(device="cpu"))) == {}


def test_what_is_set_is_laid_over_the_platforms_dagster_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    launcher = {"module": "dagster_ray", "class": "RayRunLauncher"}
    folder = prepare(settings(tmp_path, instance={"run_launcher": launcher}))
    laid = yaml.safe_load((folder / "dagster.yaml").read_text())
    assert laid["run_launcher"] == launcher and laid["telemetry"] == {"enabled": False}
    assert os.environ["DAGSTER_HOME"] == str(folder)
    plain = yaml.safe_load((prepare(settings(tmp_path)) / "dagster.yaml").read_text())
    assert "run_launcher" not in plain and plain["concurrency"] == laid["concurrency"]


@pytest.fixture
def job_server() -> Iterator[str]:
    """A Ray of its own on this machine that takes jobs; its address."""
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
        os.killpg(head.pid, signal.SIGTERM)
        head.wait(60)


def _answering(address: str, head: subprocess.Popen[bytes]) -> str:
    """The address, as soon as the server there takes jobs."""
    for _ in range(120):
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
from batch_predictions.automation.instance import prepare
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
    said = [each.message for each in result.all_events if "Ray job" in (each.message or "")]
    assert len(said) >= 3, said
"""


def test_steps_that_run_as_ray_jobs_write_the_same_rows(job_server: str, tmp_path: Path) -> None:
    last = dt.date(2024, 3, 17)
    write_shop(tmp_path / "source", days=35, last=last)
    env = environment(tmp_path / "home", tmp_path / "source", RAY_AUTH_MODE="disabled")
    as_json("run", "--date", "2024-03-16", env=env, cwd=tmp_path)
    table = tmp_path / "home" / "warehouse" / "predictions" / "demographic_recommendations"
    [file] = table.glob("date=2024-03-16/data.parquet")
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    file.unlink()
    there = {
        "BATCH_PREDICTIONS_EXECUTION__EXECUTOR": "ray",
        "BATCH_PREDICTIONS_EXECUTION__RAY_JOBS": job_server,
        "BATCH_PREDICTIONS_INFERENCE__DEVICE": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", ONE_ASSET],
        env={**env, **there},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before
