"""Counts the requests to an object store and the bytes of its objects, for costs."""

from __future__ import annotations

import threading
from collections import Counter
from typing import NamedTuple

PAGE = 1000
"""Objects in an answer to one request for a list."""


class Traffic(NamedTuple):
    """Requests of a process to a store, and the bytes of objects that they moved.

    Attributes:
        requests: their numbers by kind: list, get, head, put and delete.
        bytes_sent: of objects that were uploaded, refused ones too.
        bytes_received: of objects that were downloaded.
    """

    requests: dict[str, int]
    bytes_sent: int
    bytes_received: int


class TrafficCounter:
    """Adds up what many threads ask a store for; what a library repeats is not seen."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()
        self._sent = self._received = 0

    def add(self, kind: str, requests: int = 1, *, sent: int = 0, received: int = 0) -> None:
        """Counts requests of a kind, and the bytes of their objects."""
        with self._lock:
            self._requests[kind] += requests
            self._sent += sent
            self._received += received

    def add_list(self, entries: int) -> None:
        """Counts the requests for a list."""
        self.add("list", max(1, -(-entries // PAGE)))

    def add_put(self, size: int, part: int | None = None) -> None:
        """Counts an upload, which is one request, or of more than a part's bytes one for each part.

        Args:
            size: in bytes.
            part: most bytes of a request; None: any.
        """
        # Uploads in parts are begun and ended by further requests.
        parts = 1 if part is None or size <= part else -(-size // part) + 2
        self.add("put", parts, sent=size)

    def take(self) -> Traffic:
        """Returns the traffic since the last call, of all threads, and begins anew."""
        with self._lock:
            taken = Traffic(dict(self._requests), self._sent, self._received)
            self._requests.clear()
            self._sent = self._received = 0
        return taken
