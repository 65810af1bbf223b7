"""Builds the pool that settings and scorer require."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from batch_predictions.inference.device import assign_devices, choose_device, instance_count
from batch_predictions.inference.pools.base import WorkerPool
from batch_predictions.inference.pools.kind import worker_kind
from batch_predictions.inference.pools.processes import ProcessPool
from batch_predictions.inference.pools.threads import ThreadPool
from batch_predictions.inference.scorer import uses_gpu
from batch_predictions.inference.shards import load_scorer_class
from batch_predictions.inference.staging_manifest import Shard, StagingManifest
from batch_predictions.settings import InferenceSettings, SettingsError


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
    model = Path(manifest.model_folder) if manifest.model_folder else None
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
