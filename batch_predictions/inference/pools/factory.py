"""Chooses the pool that settings and scorer ask for."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from pathlib import Path

from batch_predictions.inference.device import assign_devices, choose_device, instances
from batch_predictions.inference.pools.base import WorkerPool
from batch_predictions.inference.pools.processes import ProcessPool
from batch_predictions.inference.pools.threads import ThreadPool
from batch_predictions.inference.scorer import uses_gpu, workers_of
from batch_predictions.inference.shards import scorer_class
from batch_predictions.inference.staging import StagingManifest
from batch_predictions.settings import InferenceSettings


def make_pool(
    manifest: StagingManifest, manifest_path: Path, shards: int, settings: InferenceSettings
) -> AbstractContextManager[WorkerPool]:
    """A pool for the scorer of a staged partition; enter it before submitting.

    Args:
        manifest: what was staged.
        manifest_path: where it lies.
        shards: shards to score; there are never more instances than that.
        settings: engine, workers and device.

    Raises:
        ScoringError: the Ray cluster cannot be entered, or has no room for one instance.
    """
    scorer = None
    with suppress(ImportError, AttributeError):  # Reported by the workers, with the rows concerned.
        scorer = scorer_class(manifest)
    model = Path(manifest.model_folder) if manifest.model_folder else None
    if scorer and not uses_gpu(scorer, model):
        settings = settings.model_copy(update={"device": "cpu", "ray_num_gpus": 0.0})
    if settings.engine == "ray":
        from batch_predictions.inference.pools.ray import RayPool

        return RayPool.connect(manifest_path, shards, settings)
    device = choose_device(settings.device)
    size = min(instances(settings.workers, device), shards)
    # A single instance needs no process of its own, which would import everything once more.
    kind = workers_of(scorer) if scorer and size > 1 else "threads"
    pool = ProcessPool if kind == "processes" else ThreadPool
    return pool(manifest_path, assign_devices(device, size), settings.block_mb)
