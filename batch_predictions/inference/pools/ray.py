"""Instances of a scorer as Ray actors, which read and write the shared home folder themselves.

No rows pass through Ray: an actor receives a shard's name and returns its device and the problem,
if any. An actor or node that dies costs the shards that it was scoring and nothing else.

Facts of Ray 2.60, each observed here: a running actor reserves 0 CPUs unless told otherwise, so
`num_cpus` is always given; a request for more than the cluster has waits for ever in silence,
hence `ray_patience_seconds`; a cluster started in another shell is entered only with the same
RAY_AUTH_MODE and token; usage statistics are on unless RAY_USAGE_STATS_ENABLED is 0.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from batch_predictions.inference.device import choose_device
from batch_predictions.inference.pools.base import ScoringError, ShardOutcome, describe_error
from batch_predictions.inference.shards import StageTimings, Worker
from batch_predictions.settings import PREFIX, InferenceSettings, home_folder

_POLL_SECONDS = 2.0


class RayError(ScoringError):
    """Ray is not there, or the cluster has no room; the message says what is missing."""


class RayPool:
    """Actors, one for each instance; one that dies is replaced."""

    def __init__(
        self, manifest_path: Path, settings: InferenceSettings, size: int, owned: bool
    ) -> None:
        self.manifest_path, self.settings, self.owned = manifest_path, settings, owned
        self.size = self.max_in_flight = size
        self._devices: set[str] = set()
        self._free: list[Any] = []
        self._in_flight: dict[Any, tuple[Any, str]] = {}
        # Each actor with the future of a call that it answers as soon as it is placed.
        self._actors: dict[Any, Any] = {}
        self._last_progress = time.monotonic()

    @classmethod
    def connect(cls, manifest_path: Path, shards: int, settings: InferenceSettings) -> RayPool:
        """Enters the cluster of `inference.ray_address`, or starts Ray on this machine.

        Raises:
            RayError: there is no Ray here, or no node can hold one instance.
        """
        # Before the import: Ray reads it then.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise RayError(
                "inference.engine is ray and Ray is not installed: "
                "pip install 'batch-predictions[ray]', or set inference.engine to local"
            ) from None
        owned = not ray.is_initialized()
        if owned:
            # Never without an address: Ray would enter whatever cluster was started last on this
            # machine, another's or a dead one's.
            address = settings.ray_address or os.environ.get("RAY_ADDRESS") or "local"
            quiet = {"log_to_driver": False, "configure_logging": False}
            if address == "local":
                quiet["include_dashboard"] = False
            try:
                ray.init(address=address, **quiet)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise RayError(
                    f"the Ray cluster at {address} cannot be entered: {error}. A "
                    "cluster with token authentication wants the same RAY_AUTH_MODE and token here"
                ) from error
        try:
            settings = settings.model_copy(update={"ray_num_gpus": _gpus(settings)})
            capacity = _cluster_capacity(settings)
        except RayError:
            if owned:
                ray.shutdown()
            raise
        return cls(manifest_path, settings, min(settings.workers or capacity, shards), owned)

    @property
    def device(self) -> str:
        """`ray`, and what the instances chose on their nodes."""
        return f"ray ({', '.join(sorted(self._devices))})" if self._devices else "ray"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import ray

        for actor in self._actors:
            ray.kill(actor)
        if self.owned:
            ray.shutdown()

    def submit(self, shard: str) -> None:
        """Sends a shard to a free actor, a new one where none is free."""
        actor = self._free.pop() if self._free else self._spawn()
        self._in_flight[actor.score.remote(shard)] = (actor, shard)

    def wait(self) -> list[ShardOutcome]:
        """Blocks until a shard has ended or its actor has died.

        Raises:
            RayError: no instance was placed for `inference.ray_patience_seconds`.
        """
        import ray

        while True:
            ready, _ = ray.wait(list(self._in_flight), num_returns=1, timeout=_POLL_SECONDS)
            if ready:
                break
            self._reassign()
        return [self._outcome(reference) for reference in ready]

    def _outcome(self, reference: Any) -> ShardOutcome:
        import ray

        actor, shard = self._in_flight.pop(reference)
        self._last_progress = time.monotonic()
        try:
            device, problem, *seconds = ray.get(reference)
        except ray.exceptions.RayError as error:
            del self._actors[actor]
            cause = str(error).strip().splitlines()[0]
            return ShardOutcome(
                shard, f"the actor or its node died ({type(error).__name__}: {cause})"
            )
        self._free.append(actor)
        self._devices.update([device] if device else [])
        return ShardOutcome(shard, problem or None, StageTimings(*seconds))

    def _spawn(self) -> Any:
        import ray

        actor = (
            ray.remote(_Actor)
            .options(
                num_cpus=self.settings.ray_num_cpus,
                num_gpus=self.settings.ray_num_gpus,  # The actor sees only these GPUs.
                # A lost node takes as few instances with it as possible.
                scheduling_strategy="SPREAD",
            )
            .remote(
                str(self.manifest_path),
                _device(self.settings),
                self.settings.block_mb,
                _variables(),
            )
        )
        self._actors[actor] = actor.is_placed.remote()
        return actor

    def _reassign(self) -> None:
        """Moves shards from actors that are not placed yet to free ones.

        Raises:
            RayError: no actor was placed for `inference.ray_patience_seconds`.
        """
        import ray

        placed = [actor for actor in self._actors if self._is_placed(actor)]
        for reference, (actor, shard) in list(self._in_flight.items()):
            if self._free and actor not in placed:
                del self._in_flight[reference], self._actors[actor]
                ray.kill(actor)
                self.submit(shard)
        if placed:
            self._last_progress = time.monotonic()
        if time.monotonic() - self._last_progress > self.settings.ray_patience_seconds:
            raise RayError(
                "no instance was placed in the Ray cluster within "
                f"{self.settings.ray_patience_seconds:.0f} s: one asks for "
                f"{_format_request(self.settings)}; of "
                f"{_resources(ray.cluster_resources())} there are "
                f"{_resources(ray.available_resources())} free. Free some, lower "
                "inference.ray_num_cpus or ray_num_gpus, or raise inference.ray_patience_seconds"
            )

    def _is_placed(self, actor: Any) -> bool:
        import ray

        ready, _ = ray.wait([self._actors[actor]], timeout=0)
        return bool(ready)


class _Actor:
    """One instance of the scorer, somewhere in the cluster."""

    def __init__(self, path: str, device: str, block_mb: int, variables: dict[str, str]) -> None:
        os.environ.update(variables)
        self.manifest_path, self.wanted_device, self.block_mb = Path(path), device, block_mb
        self.device = ""
        self.worker: Any = None

    def is_placed(self) -> bool:
        """Answers as soon as the actor runs on a node."""
        return True

    def score(self, shard: str) -> tuple[Any, ...]:
        """Scores a shard from and to the shared folder.

        Returns:
            The device, the problem ("" for success), and the seconds of `StageTimings`.
        """
        path = self.manifest_path
        try:
            if self.worker is None:
                if not path.exists():
                    return "", f"{path} does not exist: all nodes must share the home folder"
                self.device = choose_device(self.wanted_device)
                self.worker = Worker(path, self.device, self.block_mb, True)
            timings = self.worker.score(shard)
        except Exception as error:
            self.worker = None
            return self.device, describe_error(error)
        return self.device, "", *timings


def _variables() -> dict[str, str]:
    """Settings of this process, passed on: nodes of the cluster have their own environment."""
    settings = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    return {**settings, f"{PREFIX}HOME": str(home_folder())}


def _gpus(settings: InferenceSettings) -> float:
    """GPUs that one instance requests: as set, else a whole one where the cluster has any.

    Raises:
        RayError: a number that Ray refuses, or 0 while `inference.device` is cuda.
    """
    import ray

    gpus = settings.ray_num_gpus
    if gpus is None:
        available = ray.cluster_resources().get("GPU", 0.0) > 0
        wanted = settings.device == "cuda" or (available and settings.device == "auto")
        gpus = 1.0 if wanted else 0.0
    if gpus > 1 and gpus % 1:
        raise RayError(
            f"inference.ray_num_gpus is {gpus:g}: set a fraction of one GPU, or whole ones"
        )
    if settings.device == "cuda" and not gpus:
        raise RayError(
            "inference.device is cuda and ray_num_gpus 0: Ray would give no instance a GPU"
        )
    return gpus


def _device(settings: InferenceSettings) -> str:
    """The device setting of actors: Ray 2.60 hides no GPU from an actor that requested none, which
    would use one that belongs to others."""
    return settings.device if settings.ray_num_gpus else "cpu"


def _cluster_capacity(settings: InferenceSettings) -> int:
    """Instances that the cluster's nodes can hold at once.

    Raises:
        RayError: no node can hold one.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    count = sum(_instances_per_node(node, settings) for node in nodes)
    if not count:
        resources = "; ".join(_resources(node) for node in nodes)
        raise RayError(
            f"no node of the Ray cluster can hold one instance, which asks for "
            f"{_format_request(settings)}; "
            f"the {len(nodes)} nodes have {resources}. Lower inference.ray_num_cpus or "
            "ray_num_gpus, or add a node"
        )
    return count


def _instances_per_node(node: Mapping[str, float], settings: InferenceSettings) -> int:
    """Instances that one node can hold; halves of two GPUs do not add up to one."""
    cpus, gpus = settings.ray_num_cpus, settings.ray_num_gpus or 0.0
    limits = []
    if cpus:
        limits.append(int(node.get("CPU", 0.0) / cpus + 1e-9))
    if gpus:
        available = int(node.get("GPU", 0.0))
        limits.append(int(available / gpus) if gpus >= 1 else available * int(1 / gpus + 1e-9))
    return min(limits, default=1)


def _format_request(settings: InferenceSettings) -> str:
    return f"{settings.ray_num_cpus:g} CPU and {settings.ray_num_gpus or 0:g} GPU"


def _resources(resources: dict[str, float]) -> str:
    return f"{resources.get('CPU', 0):g} CPU and {resources.get('GPU', 0):g} GPU"
