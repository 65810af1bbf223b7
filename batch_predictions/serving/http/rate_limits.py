"""Limits of requests per client: token buckets."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from batch_predictions.serving.http.problems import TOO_MANY_REQUESTS, ProblemError

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
    ) -> None:
        """Args: tokens per second (0: no limit), tokens at most (None: a second's), a clock."""
        self.per_second = per_second
        self.burst = max(1.0, per_second) if burst is None else burst
        self._clock = clock
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def take(self, client: bytes, tokens: float = 1.0) -> None:
        """Takes tokens of a client; more than a full bucket has count as a full one.

        Raises:
            ProblemError: there are not as many; it says how long to wait.
        """
        if not self.per_second:
            return
        now = self._clock()
        left, at = self._buckets.pop(client, (self.burst, now))
        left = min(self.burst, left + (now - at) * self.per_second)
        needed = min(tokens, self.burst)
        allowed = left >= needed
        self._buckets[client] = (left - needed if allowed else left, now)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        if not allowed:
            wait = max(1, math.ceil((needed - left) / self.per_second))
            raise ProblemError(
                TOO_MANY_REQUESTS,
                f"At most {self.per_second:g} requests per second.",
                {"retry-after": str(wait)},
            )


def wrong_key_limiter() -> RateLimiter:
    """The limit of wrong keys per address, whatever the settings say."""
    return RateLimiter(WRONG_KEYS_PER_SECOND, WRONG_KEYS_AT_ONCE)
