"""Resources of Ray: what an instance requests, and how many instances a cluster can hold."""

from __future__ import annotations

from collections.abc import Mapping

from batch_predictions.inference.pools.base import ScoringError
from batch_predictions.settings import InferenceSettings


class RayError(ScoringError):
    """Ray is not installed or lacks resources; the message says what is missing."""


def gpus_per_instance(settings: InferenceSettings) -> float:
    """GPUs that one instance requests: the setting, else 1 where the cluster has any.

    Raises:
        RayError: the number is one that Ray refuses, or 0 while `inference.device` is cuda.
    """
    import ray

    gpus = settings.ray_num_gpus
    if gpus is None:
        available = ray.cluster_resources().get("GPU", 0.0) > 0
        needs_gpu = settings.device == "cuda" or (available and settings.device == "auto")
        gpus = 1.0 if needs_gpu else 0.0
    if gpus > 1 and gpus % 1:
        raise RayError(
            f"inference.ray_num_gpus is {gpus:g}: set a fraction below 1, or a whole number"
        )
    if settings.device == "cuda" and not gpus:
        raise RayError(
            "inference.device is cuda and ray_num_gpus is 0: Ray would give no instance a GPU"
        )
    return gpus


def cluster_capacity(settings: InferenceSettings) -> int:
    """Instances that the cluster's nodes can hold at once.

    Raises:
        RayError: no node can hold one.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    count = sum(instances_per_node(node, settings) for node in nodes)
    if not count:
        resources = "; ".join(format_resources(node) for node in nodes)
        raise RayError(
            f"no node of the Ray cluster can hold one instance, which requests "
            f"{format_request(settings)}; "
            f"the {len(nodes)} nodes have {resources}. Lower inference.ray_num_cpus or "
            "ray_num_gpus, or add a node"
        )
    return count


def instances_per_node(node: Mapping[str, float], settings: InferenceSettings) -> int:
    """Instances that one node can hold; an instance does not span fractions of two GPUs."""
    cpus, gpus = settings.ray_num_cpus, settings.ray_num_gpus or 0.0
    limits = []
    if cpus:
        limits.append(int(node.get("CPU", 0.0) / cpus + 1e-9))
    if gpus:
        available = int(node.get("GPU", 0.0))
        limits.append(int(available / gpus) if gpus >= 1 else available * int(1 / gpus + 1e-9))
    return min(limits, default=1)


def format_request(settings: InferenceSettings) -> str:
    """The cores and GPUs that one instance asks for, in words."""
    return f"{settings.ray_num_cpus:g} CPU and {settings.ray_num_gpus or 0:g} GPU"


def format_resources(resources: Mapping[str, float]) -> str:
    """The cores and GPUs of a cluster or node, in words."""
    return f"{resources.get('CPU', 0):g} CPU and {resources.get('GPU', 0):g} GPU"
