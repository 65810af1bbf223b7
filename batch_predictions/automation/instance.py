"""The home's Dagster instance, and the runs that a killed process left behind in it."""

from __future__ import annotations

import os
import socket
from importlib import resources
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster import DagsterRunStatus, RunsFilter

from batch_predictions.automation.executors import inherited_env
from batch_predictions.home import process_exists
from batch_predictions.settings import PREFIX, Settings

_HOME = f"{PREFIX}HOME"
_HERE = "http://127.0.0.1:8265"
"""Ray's job server, where nothing else is said."""

OWNER_TAG = "batch_predictions/process"
_UNFINISHED = [
    DagsterRunStatus.STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.CANCELING,
]


def prepare(settings: Settings) -> Path:
    """Puts the platform's dagster.yaml, with `execution.instance` laid over it, into
    `<home>/dagster` and makes that `DAGSTER_HOME`."""
    folder = settings.home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    text = (resources.files("batch_predictions") / "dagster.yaml").read_text(encoding="utf-8")
    over = {**_launcher(settings), **settings.execution.instance}
    if over:
        text = yaml.safe_dump({**yaml.safe_load(text), **over}, sort_keys=False)
    target = folder / "dagster.yaml"
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder


def _launcher(settings: Settings) -> dict[str, Any]:
    """dagster.yaml's part that sends runs to a Ray cluster, where it is set."""
    if settings.execution.launcher == "default":
        return {}
    # By name: what is secret among the values stays in the launching process.
    names = sorted(set(inherited_env(settings)) - {_HOME})
    ray = {
        "address": settings.execution.ray_jobs or os.environ.get("RAY_ADDRESS") or _HERE,
        "env_vars": [f"{_HOME}={settings.home.absolute()}", *names],
    }
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    launcher = {"module": "dagster_ray", "class": "RayRunLauncher", "config": {"ray": ray}}
    return {"run_launcher": launcher}


def owner() -> str:
    """This process, as runs are tagged with it."""
    return f"{socket.gethostname()}:{os.getpid()}"


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Marks runs of dead processes of this host as failed and frees their slots of pools.

    Only runs that the command line started are touched: the UI's are watched by its daemon.
    """
    buried = []
    for run in instance.get_runs(RunsFilter(statuses=_UNFINISHED)):
        host, _, pid = run.tags.get(OWNER_TAG, "").partition(":")
        if host != socket.gethostname() or not pid.isdigit() or process_exists(int(pid)):
            continue
        instance.report_run_failed(run, f"process {pid} died")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        buried.append(run.run_id)
    return buried


def slot_holders(instance: dg.DagsterInstance, pool: str) -> list[str]:
    """What holds the slots of a pool, for those who wait for it."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return []
    claims = storage.get_concurrency_info(pool).claimed_slots
    return sorted({f"run {claim.run_id} ({claim.step_key})" for claim in claims})
