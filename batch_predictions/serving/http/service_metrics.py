"""Counters of the service in Prometheus's format; of all workers together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from batch_predictions.serving.http.current_release import ReleaseWatcher
from batch_predictions.serving.release_files.release_source import FolderStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
WORKERS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Variable that names the folder in which workers keep their counters for each other."""
PREFIX = "batch_predictions"
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Counts requests. No label has an id of a user or an item, or a key."""

    def __init__(
        self,
        watcher: ReleaseWatcher,
        files_status: Callable[[], FolderStatus | None] = lambda: None,
    ) -> None:
        """Takes the current release, and a function that returns the state of release files."""
        disable_created_metrics()
        self._registry = CollectorRegistry()
        self._requests = Counter(
            f"{PREFIX}_http_requests",
            "Requests by route, method and status.",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            f"{PREFIX}_http_request_seconds",
            "Seconds from a request's headers to the end of its answer, by route.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._lists = Counter(
            f"{PREFIX}_recommendation_lists",
            "Lists of recommendations by source: personal, demographic or popular.",
            ("source",),
            registry=self._registry,
        )
        self._events = Counter(
            f"{PREFIX}_events",
            "Events that were posted by outcome: accepted, duplicate or refused.",
            ("outcome",),
            registry=self._registry,
        )
        self._release = _ReleaseCollector(watcher, files_status)
        # Looking a child up by its labels takes as long as counting.
        self._children: dict[tuple[str, str, int], tuple[Callable[[], None], Any]] = {}
        self._list_children = {
            source: self._lists.labels(source).inc
            for source in ("personal", "demographic", "popular")
        }

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts an answered request, and the seconds that it took.

        Args:
            route: the address without ids.
            method: of HTTP.
            status: of the answer.
            seconds: from the request to the end of the answer.
        """
        key = (route, method, status)
        child = self._children.get(key)
        if child is None:
            child = (
                self._requests.labels(route, method, str(status)).inc,
                self._seconds.labels(route).observe,
            )
            self._children[key] = child
        child[0]()
        child[1](seconds)

    def count_list(self, source: str) -> None:
        """Counts a list of recommendations that was answered."""
        self._list_children[source]()

    def count_events(self, accepted: int, duplicates: int, refused: int) -> None:
        """Counts the posted events of one request by their outcome."""
        outcomes = {"accepted": accepted, "duplicate": duplicates, "refused": refused}
        for outcome, number in outcomes.items():
            self._events.labels(outcome).inc(number)

    def text(self) -> bytes:
        """All counters, and the current release, in Prometheus's text format."""
        folder = os.environ.get(WORKERS_FOLDER)
        registry = CollectorRegistry()
        if folder:
            MultiProcessCollector(registry, folder)
        registry.register(self._release)
        counters = b"" if folder else generate_latest(self._registry)
        return counters + generate_latest(registry)


class _ReleaseCollector(Collector):
    """Collects the metrics of the current release each time Prometheus asks."""

    def __init__(
        self, watcher: ReleaseWatcher, files_status: Callable[[], FolderStatus | None]
    ) -> None:
        self._watcher, self._files_status = watcher, files_status

    def collect(self) -> Iterator[Any]:
        current = self._watcher.current
        yield GaugeMetricFamily(
            f"{PREFIX}_store_reachable",
            "Whether the serving store answered when it was asked last: 1 or 0.",
            float(self._watcher.is_reachable),
        )
        yield from _files_metrics(self._files_status())
        if current is None:
            return
        yield InfoMetricFamily(
            f"{PREFIX}_release",
            "The current release.",
            {"release_id": current.served.release_id, "as_of": current.served.as_of.isoformat()},
        )
        yield GaugeMetricFamily(
            f"{PREFIX}_release_age_seconds",
            "Seconds since the end of the current release's day.",
            current.age_seconds(time.time()),
        )
        rows = GaugeMetricFamily(
            f"{PREFIX}_release_rows", "Rows of the current release by table.", labels=["table"]
        )
        for name, entry in current.served.tables.items():
            rows.add_metric([name], entry["rows"])
        yield rows


def _files_metrics(status: FolderStatus | None) -> Iterator[object]:
    if status is None:
        return
    yield GaugeMetricFamily(
        f"{PREFIX}_release_dir_readable",
        "Whether the folder of release files could be listed last: 1 or 0.",
        float(status.is_readable),
    )
    yield GaugeMetricFamily(
        f"{PREFIX}_release_files_refused",
        "Release files newer than the served one that are damaged or not complete.",
        float(status.refused),
    )
