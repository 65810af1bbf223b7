"""The Ray crew: actors on a cluster that pull shards by name and use the shared home themselves.

No rows pass through Ray: an actor is sent a name and sends back its device and what went wrong. So
an actor or a node that dies costs the shards that it held and nothing else.

Facts of Ray 2.60, each met here: an actor asks for 0 CPUs once it lives unless told otherwise, so
`num_cpus` is always given; asking for more than the cluster has waits for ever without a word,
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

from batch_predictions.inference.engine import ScoringError, ShardOutcome
from batch_predictions.inference.shards import StageTimings
from batch_predictions.settings import PREFIX, InferenceSettings, home_folder

_LOOK_SECONDS = 2.0


class RayError(ScoringError):
    """Ray is not there, or the cluster has no room; the message says what is missing."""


class RayPool:
    """Actors, one for each instance; one that dies is replaced."""

    def __init__(self, path: Path, settings: InferenceSettings, size: int, owned: bool) -> None:
        self.path, self.settings, self.owned = path, settings, owned
        self.size = self.max_in_flight = size
        self.devices: set[str] = set()
        self.free: list[Any] = []
        self.under_way: dict[Any, tuple[Any, str]] = {}
        # Actors with the answer to a call that they give as soon as they live.
        self.actors: dict[Any, Any] = {}
        self.heard = time.monotonic()

    @classmethod
    def of(cls, path: Path, shards: int, settings: InferenceSettings) -> RayPool:
        """Enters the cluster, or starts a Ray of its own on this machine.

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
            # "local" is said: without an address Ray enters whatever cluster was begun last on this
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
            fits = _cluster_capacity(settings)
        except RayError:
            if owned:
                ray.shutdown()
            raise
        return cls(path, settings, min(settings.workers or fits, shards), owned)

    @property
    def device(self) -> str:
        """`ray`, and what the instances chose on their nodes."""
        return f"ray ({', '.join(sorted(self.devices))})" if self.devices else "ray"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import ray

        for actor in self.actors:
            ray.kill(actor)
        if self.owned:
            ray.shutdown()

    def submit(self, shard: str) -> None:
        """Gives a shard to a free actor, a new one where none is."""
        actor = self.free.pop() if self.free else self._spawn()
        self.under_way[actor.score.remote(shard)] = (actor, shard)

    def wait(self) -> list[ShardOutcome]:
        """Waits until a shard has ended or its actor has died.

        Raises:
            RayError: nothing could begin for `inference.ray_patience_seconds`.
        """
        import ray

        while True:
            ready, _ = ray.wait(list(self.under_way), num_returns=1, timeout=_LOOK_SECONDS)
            if ready:
                break
            self._reassign()
        return [self._ended(each) for each in ready]

    def _ended(self, reference: Any) -> ShardOutcome:
        import ray

        actor, shard = self.under_way.pop(reference)
        self.heard = time.monotonic()
        try:
            device, problem, *seconds = ray.get(reference)
        except ray.exceptions.RayError as error:
            del self.actors[actor]
            cause = str(error).strip().splitlines()[0]
            return ShardOutcome(
                shard, f"the actor or its node died ({type(error).__name__}: {cause})"
            )
        self.free.append(actor)
        self.devices.update([device] if device else [])
        return ShardOutcome(shard, problem or None, StageTimings(*seconds))

    def _spawn(self) -> Any:
        import ray

        actor = (
            ray.remote(_Actor)
            .options(
                num_cpus=self.settings.ray_num_cpus,
                num_gpus=self.settings.ray_num_gpus,  # Those alone are visible to it.
                # One lost node takes as few instances with it as can be.
                scheduling_strategy="SPREAD",
            )
            .remote(str(self.path), _device(self.settings), self.settings.block_mb, _variables())
        )
        self.actors[actor] = actor.lives.remote()
        return actor

    def _reassign(self) -> None:
        """Takes shards from actors that found no place yet to free ones.

        Raises:
            RayError: no actor at all found a place for `inference.ray_patience_seconds`.
        """
        import ray

        placed = [actor for actor in self.actors if self._lives(actor)]
        for reference, (actor, shard) in list(self.under_way.items()):
            if self.free and actor not in placed:
                del self.under_way[reference], self.actors[actor]
                ray.kill(actor)
                self.submit(shard)
        if placed:
            self.heard = time.monotonic()
        if time.monotonic() - self.heard > self.settings.ray_patience_seconds:
            raise RayError(
                "no instance found a place in the Ray cluster within "
                f"{self.settings.ray_patience_seconds:.0f} s: one asks for "
                f"{_format_request(self.settings)}; of "
                f"{_resources(ray.cluster_resources())} there are "
                f"{_resources(ray.available_resources())} free. Free some, lower "
                "inference.ray_num_cpus or ray_num_gpus, or raise inference.ray_patience_seconds"
            )

    def _lives(self, actor: Any) -> bool:
        import ray

        ready, _ = ray.wait([self.actors[actor]], timeout=0)
        return bool(ready)


class _Actor:
    """One instance of the scorer, somewhere in the cluster."""

    def __init__(self, path: str, device: str, block_mb: int, variables: dict[str, str]) -> None:
        os.environ.update(variables)
        self.what = Path(path), device, block_mb
        self.device = ""
        self.worker: Any = None

    def lives(self) -> bool:
        """Answers as soon as the actor has its place."""
        return True

    def score(self, shard: str) -> tuple[Any, ...]:
        """Scores a shard from and to the shared folder.

        Returns:
            The device, what went wrong if so, and the seconds that it took.
        """
        from batch_predictions.inference.device import choose_device
        from batch_predictions.inference.shards import Worker

        path, device, block_mb = self.what
        try:
            if self.worker is None:
                if not path.exists():
                    where = f"{path} is not there: the home must be a folder that all nodes share"
                    return "", where
                self.device = choose_device(device)
                self.worker = Worker(path, self.device, block_mb, True)
            took = self.worker.score(shard)
        except Exception as error:
            self.worker = None
            return self.device, f"{type(error).__name__}: {error}"
        return self.device, "", *took


def _variables() -> dict[str, str]:
    """The settings of this process for actors, whose nodes have an environment of their own."""
    chosen = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    return {**chosen, f"{PREFIX}HOME": str(home_folder())}


def _gpus(settings: InferenceSettings) -> float:
    """GPUs that one instance asks for: as set, else a whole one where the cluster has any.

    Raises:
        RayError: a number that Ray refuses, or none although the device is to be cuda.
    """
    import ray

    asked = settings.ray_num_gpus
    if asked is None:
        there = ray.cluster_resources().get("GPU", 0.0) > 0
        asked = 1.0 if settings.device == "cuda" or (there and settings.device == "auto") else 0.0
    if asked > 1 and asked % 1:
        raise RayError(f"inference.ray_num_gpus is {asked:g}: a part of one GPU, or whole ones")
    if settings.device == "cuda" and not asked:
        raise RayError(
            "inference.device is cuda and ray_num_gpus 0: Ray would give no instance a GPU"
        )
    return asked


def _device(settings: InferenceSettings) -> str:
    """Where actors score. Ray 2.60 hides no GPU from an actor that asked for none: it would take
    one that Ray has given to others."""
    return settings.device if settings.ray_num_gpus else "cpu"


def _cluster_capacity(settings: InferenceSettings) -> int:
    """Instances that the cluster's nodes can hold at once.

    Raises:
        RayError: not even one.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    count = sum(_instances_per_node(node, settings) for node in nodes)
    if not count:
        have = "; ".join(_resources(node) for node in nodes)
        raise RayError(
            f"no node of the Ray cluster can hold one instance, which asks for "
            f"{_format_request(settings)}; "
            f"the {len(nodes)} nodes have {have}. Lower inference.ray_num_cpus or ray_num_gpus, "
            "or add a node"
        )
    return count


def _instances_per_node(node: Mapping[str, float], settings: InferenceSettings) -> int:
    """Instances that one node can hold; two halves of two GPUs are none."""
    cpus, gpus = settings.ray_num_cpus, settings.ray_num_gpus or 0.0
    room = []
    if cpus:
        room.append(int(node.get("CPU", 0.0) / cpus + 1e-9))
    if gpus:
        there = int(node.get("GPU", 0.0))
        room.append(int(there / gpus) if gpus >= 1 else there * int(1 / gpus + 1e-9))
    return min(room, default=1)


def _format_request(settings: InferenceSettings) -> str:
    return f"{settings.ray_num_cpus:g} CPU and {settings.ray_num_gpus or 0:g} GPU"


def _resources(resources: dict[str, float]) -> str:
    return f"{resources.get('CPU', 0):g} CPU and {resources.get('GPU', 0):g} GPU"
