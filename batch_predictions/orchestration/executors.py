"""Executors of the steps of a job: in process, in processes, on Ray, on Kubernetes."""

from __future__ import annotations

import os

import dagster as dg

from batch_predictions.core.home_bucket import CACHE_VARIABLE, location_of
from batch_predictions.orchestration import dagster_internals
from batch_predictions.settings import PREFIX, Settings, SettingsError, shareable_variables


def executor_of(settings: Settings) -> dg.ExecutorDefinition:
    """The executor that `execution.executor` names, with a share of the home's lock for its runs.

    Raises:
        SettingsError: it is ray or kubernetes, and the extra is not installed.
    """
    executor = _executor_of_steps(settings)
    if not dagster_internals.are_known():
        return executor
    from batch_predictions.orchestration.dagster_internals.locked_executor import locked

    return locked(executor, settings)


def _executor_of_steps(settings: Settings) -> dg.ExecutorDefinition:
    execution = settings.execution
    if execution.executor == "in_process":
        return dg.in_process_executor
    if execution.executor == "multiprocess":
        # Forked from a server that has imported the platform, which is faster than spawning.
        start_method = {"forkserver": {"preload_modules": ["batch_predictions.definitions"]}}
        return dg.multiprocess_executor.configured({"start_method": start_method})
    if execution.executor == "kubernetes":
        return _kubernetes_executor()
    return _ray_executor(settings)


def _kubernetes_executor() -> dg.ExecutorDefinition:
    """Steps as jobs of Kubernetes, with the volumes and variables of the run's own pod.

    The step `score` gets a GPU by its tag `dagster-k8s/config`. Other steps are as small as the
    cluster's defaults.
    """
    try:
        from dagster_k8s import k8s_job_executor
    except ImportError:
        raise SettingsError(
            "execution.executor is kubernetes and dagster-k8s is not installed: "
            "pip install 'batch-predictions[kubernetes]', or set it to in_process"
        ) from None
    return k8s_job_executor


def _ray_executor(settings: Settings) -> dg.ExecutorDefinition:
    """Steps as jobs of a Ray cluster."""
    execution = settings.execution
    # Ray reads it when it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        from dagster_ray import ray_executor
    except ImportError:
        raise SettingsError(
            "execution.executor is ray and dagster-ray is not installed: "
            "pip install 'batch-predictions[ray]', or set it to in_process"
        ) from None
    environment = inherited_env(settings)
    ray = {
        "address": execution.ray_jobs,
        "env_vars": [f"{name}={value}" for name, value in sorted(environment.items())],
    }
    return ray_executor.configured({"ray": {k: v for k, v in ray.items() if v is not None}})


def inherited_env(settings: Settings) -> dict[str, str]:
    """Environment variables with which a process on another node reads the same settings.

    Those with a password are not among them: Ray's nodes must have them; see docs/how_to/ray.md.
    """
    variables = shareable_variables()
    # Each node has a folder of its own for its copies.
    variables.pop(CACHE_VARIABLE, None)
    return variables | {
        f"{PREFIX}HOME": location_of(settings.home),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
