"""Limits of requests per client: token buckets."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from batch_predictions.serving.http.problems import (
    TOO_MANY_REQUESTS,
    TOO_MANY_WRONG_KEYS,
    ProblemError,
    ProblemType,
)

MAX_CLIENTS = 50_000
"""Clients whose requests are counted; the ones that have not called for longest are forgotten."""
WRONG_KEYS_PER_SECOND = 1.0
WRONG_KEYS_AT_ONCE = 20.0


class RateLimiter:
    """One token bucket per client.

    A bucket holds `burst` tokens and gets `per_second` new ones every second; a request takes one.
    """

    def __init__(
        self,
        per_second: float,
        burst: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        problem: ProblemType = TOO_MANY_REQUESTS,
    ) -> None:
        """Sets what a client may do.

        Args:
            per_second: tokens; 0: no limit.
            burst: tokens at most; None: a second's.
            clock: seconds.
            problem: what a client gets that has no token left.
        """
        self.per_second = per_second
        self.burst = max(1.0, per_second) if burst is None else burst
        self._clock, self._problem = clock, problem
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def take(self, client: bytes, tokens: float = 1.0) -> None:
        """Takes tokens of a client; more than a full bucket has count as a full one.

        Raises:
            ProblemError: there are not as many; it says how long to wait.
        """
        if not self.per_second:
            return
        now = self._clock()
        left = self._left(client, now)
        needed = min(tokens, self.burst)
        self._buckets[client] = (left - needed if left >= needed else left, now)
        self._buckets.move_to_end(client)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        self._require(left, needed)

    def require_token(self, client: bytes) -> None:
        """Checks that a client has a token left, and takes none.

        Raises:
            ProblemError: as of `take`.
        """
        if client in self._buckets:
            self._require(self._left(client, self._clock()), 1.0)

    def _left(self, client: bytes, now: float) -> float:
        left, at = self._buckets.get(client, (self.burst, now))
        return min(self.burst, left + (now - at) * self.per_second)

    def _require(self, left: float, needed: float) -> None:
        if left < needed:
            wait = max(1, math.ceil((needed - left) / self.per_second))
            detail = f"At most {self.per_second:g} per second."
            raise ProblemError(self._problem, detail, {"retry-after": str(wait)})


def wrong_key_limiter() -> RateLimiter:
    """The limit of wrong keys per address, whatever the settings say."""
    return RateLimiter(WRONG_KEYS_PER_SECOND, WRONG_KEYS_AT_ONCE, problem=TOO_MANY_WRONG_KEYS)
