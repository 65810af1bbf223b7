"""Builds the pool that settings and scorer require.

It decides whether instances of a scorer on one machine are threads or processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Literal

from batch_predictions.inference.device import assign_devices, choose_device, instance_count
from batch_predictions.inference.pools.base import WorkerPool
from batch_predictions.inference.pools.processes import ProcessPool
from batch_predictions.inference.pools.threads import ThreadPool
from batch_predictions.inference.results import Shard, StagingManifest
from batch_predictions.inference.scorer import Scorer, scorer_name, uses_gpu
from batch_predictions.inference.shards import load_scorer_class
from batch_predictions.settings import InferenceSettings, SettingsError

PROCESS_MIB = 1024
"""Memory that must be free for every process; the demo's scorer of recommendations takes 600."""
CGROUP = Path("/sys/fs/cgroup")
"""Memory limit of a container, which may be far below the machine's memory."""


def worker_kind(
    scorer: type[Scorer], model: Path | None, rows: int, instances: int
) -> Literal["threads", "processes"]:
    """Decides between threads, the default, and processes.

    Threads wait for each other wherever Python itself works; a process loads the libraries and the
    model, which takes seconds and memory. A scorer whose work is in Python declares
    `workers = "processes"`. One whose work is so in part declares `process_rows`, the number of
    rows from which two instances are sooner ready as processes, or a class method that takes the
    model's folder and returns it. The more instances there are, the fewer rows it takes. These are
    processes only where the free memory suffices for all.

    Args:
        scorer: the class.
        model: folder of the model's files; None without a model.
        rows: rows to score.
        instances: number of instances, at least 2.

    Raises:
        ValueError: the class attribute `workers` has another value.
    """
    declared = getattr(scorer, "workers", "threads")
    if declared not in ("threads", "processes"):
        raise ValueError(f"{scorer_name(scorer)}.workers is {declared!r}: threads or processes")
    if declared == "processes":
        return "processes"
    process_rows = getattr(scorer, "process_rows", None)
    if callable(process_rows):
        process_rows = process_rows(model)
    # All but one of the threads would wait for the one that runs Python.
    waiting = 2 * rows * (1 - 1 / instances)
    if process_rows is None or waiting < process_rows:
        return "threads"
    return "processes" if instances * PROCESS_MIB <= free_mib() else "threads"


def free_mib() -> float:
    """Memory that processes may still take, MiB."""
    import psutil

    free = psutil.virtual_memory().available
    with suppress(OSError, ValueError, KeyError):  # "max" where the container has no limit.
        limit, used = (int((CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        lines = (CGROUP / "memory.stat").read_text().splitlines()
        cache = int(dict(line.split() for line in lines)["inactive_file"])
        free = min(free, limit - used + cache)
    return float(free / 2**20)


def make_pool(
    manifest: StagingManifest,
    manifest_path: Path,
    pending: Sequence[Shard],
    settings: InferenceSettings,
) -> AbstractContextManager[WorkerPool]:
    """A pool for the scorer of a staged partition; enter it before submitting.

    Args:
        manifest: the staged partition.
        manifest_path: path of the manifest.
        pending: shards to score; their number is an upper bound of the instances.
        settings: engine, workers and device.

    Raises:
        ScoringError: Ray cannot connect to the cluster, or no node can hold one instance.
    """
    scorer = None
    # The workers report these errors, with the rows concerned.
    with suppress(ImportError, AttributeError, SettingsError):
        scorer = load_scorer_class(manifest)
    model = manifest.model_path(manifest_path)
    if scorer and not uses_gpu(scorer, model):
        settings = settings.model_copy(update={"device": "cpu", "ray_num_gpus": 0.0})
    if settings.engine == "ray":
        from batch_predictions.inference.pools.ray import RayPool

        return RayPool.connect(manifest_path, len(pending), settings)
    device = choose_device(settings.device)
    size = min(instance_count(settings.workers, device), len(pending))
    # A single instance runs in this process: a new one would import everything again.
    kind = settings.worker_kind if size > 1 else "threads"
    if kind == "auto":
        rows = sum(shard.rows for shard in pending)
        kind = worker_kind(scorer, model, rows, size) if scorer else "threads"
    pool = ProcessPool if kind == "processes" else ThreadPool
    return pool(manifest_path, assign_devices(device, size), settings.block_mb)
