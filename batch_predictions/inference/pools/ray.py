"""Instances of a scorer as Ray actors, which read and write the home themselves.

The home is a folder that all nodes share, or a bucket, of which each node has copies.

No rows pass through Ray: an actor receives a shard's name and returns its device and the problem,
if any. When an actor or node dies, only the shards that it was scoring are scored again.

Behaviour of Ray 2.60 that this module handles: an actor reserves 0 CPUs by default, so `num_cpus`
is always given; a request that the cluster cannot fulfil waits for ever without a message, hence
`ray_patience_seconds`; a driver needs the RAY_AUTH_MODE and token of the cluster; usage statistics
are sent unless RAY_USAGE_STATS_ENABLED is 0.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Self

from batch_predictions.core.bucket_files import ENGINE
from batch_predictions.core.home import ERASURES
from batch_predictions.core.home_bucket import CACHE_VARIABLE, location_of, place_of, working_folder
from batch_predictions.core.redaction import redact
from batch_predictions.inference.cleanup import remove_old_partitions
from batch_predictions.inference.device import choose_device
from batch_predictions.inference.pools.base import ShardOutcome, describe_error
from batch_predictions.inference.pools.ray_resources import (
    RayError,
    cluster_capacity,
    format_request,
    format_resources,
    gpus_per_instance,
)
from batch_predictions.inference.shards import StageTimings, Worker
from batch_predictions.settings import PREFIX, InferenceSettings, home_folder, shareable_variables
from batch_predictions.settings.environment import WITHHELD

_POLL_SECONDS = 2.0


class RayPool:
    """One actor per instance; an actor that dies is replaced.

    Args:
        manifest_path: the staged partition, in a folder that all nodes share.
        settings: resources of an instance, and patience.
        size: number of instances.
        owned: whether `connect` started the connection to Ray, which the pool then closes.
    """

    def __init__(
        self, manifest_path: Path, settings: InferenceSettings, size: int, owned: bool
    ) -> None:
        self.manifest_path, self.settings, self.owned = manifest_path, settings, owned
        self.size = self.max_in_flight = size
        self._devices: set[str] = set()
        self._free: list[Any] = []
        self._in_flight: dict[Any, tuple[Any, str]] = {}
        # Actors, with the reference of a call that returns as soon as the actor is placed.
        self._actors: dict[Any, Any] = {}
        self._last_progress = time.monotonic()

    @classmethod
    def connect(cls, manifest_path: Path, shards: int, settings: InferenceSettings) -> RayPool:
        """Connects to the cluster of `inference.ray_address`, or starts Ray on this machine.

        Args:
            manifest_path: of the staged partition, in a folder that all nodes share.
            shards: number of shards to score.
            settings: those under `inference`.

        Raises:
            RayError: Ray is not installed, does not connect, or no node can hold one instance.
        """
        # Before the import, which reads it.
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
            # Never without an address: Ray would connect to the cluster that was started last on
            # this machine, which may be another user's or dead.
            address = settings.ray_address or os.environ.get("RAY_ADDRESS") or "local"
            options = {"log_to_driver": False, "configure_logging": False}
            if address == "local":
                options["include_dashboard"] = False
            try:
                ray.init(address=address, **options)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise RayError(
                    f"cannot connect to the Ray cluster at {redact(address)}: "
                    f"{redact(str(error))}. A cluster with token authentication requires the same "
                    "RAY_AUTH_MODE and token here"
                ) from error
        try:
            settings = settings.model_copy(update={"ray_num_gpus": gpus_per_instance(settings)})
            capacity = cluster_capacity(settings)
        except RayError:
            if owned:
                ray.shutdown()
            raise
        return cls(manifest_path, settings, min(settings.workers or capacity, shards), owned)

    @property
    def device(self) -> str:
        """`ray`, with the devices that the instances chose on their nodes."""
        return f"ray ({', '.join(sorted(self._devices))})" if self._devices else "ray"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        import ray

        for actor in self._actors:
            ray.kill(actor)
        if self.owned:
            ray.shutdown()

    def submit(self, shard: str) -> None:
        """Sends a shard to a free actor, or to a new one."""
        actor = self._free.pop() if self._free else self._spawn()
        self._in_flight[actor.score.remote(shard)] = (actor, shard)

    def wait(self) -> list[ShardOutcome]:
        """Blocks until a shard is finished or its actor has died.

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
                # So that a lost node has as few instances as possible.
                scheduling_strategy="SPREAD",
            )
            .remote(
                *_place_of(self.manifest_path),
                _device(self.settings),
                self.settings.block_mb,
                self.settings.keep_days,
                actor_variables(),
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
                "the Ray cluster placed no instance within "
                f"{self.settings.ray_patience_seconds:.0f} s: an instance requests "
                f"{format_request(self.settings)}; of "
                f"{format_resources(ray.cluster_resources())} "
                f"{format_resources(ray.available_resources())} are free. Free some, lower "
                "inference.ray_num_cpus or ray_num_gpus, or raise inference.ray_patience_seconds"
            )

    def _is_placed(self, actor: Any) -> bool:
        import ray

        ready, _ = ray.wait([self._actors[actor]], timeout=0)
        return bool(ready)


class _Actor:
    """One instance of the scorer on a node of the cluster.

    The actor's process starts without plugins: `Worker` loads those of the manifest, so that they
    must be importable on every node.
    """

    def __init__(
        self,
        home: str,
        name: str,
        device: str,
        block_mb: int,
        keep_days: int,
        variables: dict[str, str],
    ) -> None:
        os.environ.update(variables)
        self.manifest_path = working_folder(home) / name
        self.device_setting, self.block_mb, self.keep_days = device, block_mb, keep_days
        self.device = ""
        self.worker: Any = None

    def is_placed(self) -> bool:
        """Returns as soon as the actor runs on a node."""
        return True

    def score(self, shard: str) -> tuple[Any, ...]:
        """Scores a shard of the shared folder.

        Returns:
            The device, the problem ("" for success), and the seconds of `StageTimings`.
        """
        path = self.manifest_path
        try:
            if self.worker is None:
                _fetch_stage_to_node(path, self.keep_days)
                if not path.exists():
                    return "", (
                        f"{path} does not exist here: the home must be in a bucket, or in a folder "
                        "that all nodes share"
                    )
                self.device = choose_device(self.device_setting)
                self.worker = Worker(path, self.device, self.block_mb, True)
            timings = self.worker.score(shard)
        except Exception as error:
            self.worker = None
            return self.device, describe_error(error)
        return self.device, "", *timings


def actor_variables() -> dict[str, str]:
    """Settings variables of this process, for the actors: nodes have another environment.

    Scorers read no database, so that the actors need no variables with passwords.
    """
    variables = shareable_variables()
    for name in (WITHHELD, CACHE_VARIABLE):
        variables.pop(name, None)
    return {**variables, f"{PREFIX}HOME": location_of(home_folder())}


def _fetch_stage_to_node(path: Path, keep_days: int) -> None:
    """Downloads a stage from the bucket of a home; old ones and erased users leave the node."""
    place = place_of(path)
    if place is not None:
        bucket = place[0]
        bucket.refresh(ERASURES)
        remove_old_partitions(bucket.root / ENGINE, keep_days)
        bucket.fetch(path.parent)


def _place_of(path: Path) -> tuple[str, str]:
    """A home that all nodes reach, and the name of a file in it; of a shared folder, the path."""
    place = place_of(path)
    return (place[0].url, place[1]) if place else (str(path.parent), path.name)


def _device(settings: InferenceSettings) -> str:
    """The device setting of actors: `cpu` where they request no GPU.

    Ray 2.60 hides no GPU from an actor that requested none; the actor would use another's.
    """
    return settings.device if settings.ray_num_gpus else "cpu"
