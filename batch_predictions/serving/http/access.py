"""Who may call: API keys by scope, and the names under which an open service answers.

Requests of a client are limited by token buckets.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import math
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Literal

from batch_predictions.serving.http.problems import (
    MISSING_SCOPE,
    NO_KEY,
    TOO_MANY_REQUESTS,
    TOO_MANY_WRONG_KEYS,
    WRONG_HOST,
    WRONG_KEY,
    ProblemError,
    ProblemType,
)
from batch_predictions.settings import PREFIX, SettingsError

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
VARIABLES: dict[Scope, str] = {scope: f"{PREFIX}HTTP_{scope.upper()}_KEYS" for scope in SCOPES}
MIN_KEY_CHARACTERS = 20
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/openapi.json", "/explorer/explorer.css"})
"""They need no key: probes have none, and the description and the stylesheet have no data."""
_OPEN_PREFIX = "/problems/"
_BEARER = {"www-authenticate": 'Bearer realm="batch-predictions"'}
_BASIC = {"www-authenticate": 'Basic realm="batch-predictions", charset="UTF-8"'}
"""Makes a browser ask for a name and a password, the key."""


def required_scope(method: str, path: str) -> Scope | None:
    """The scope that a request needs; None: no key.

    A new route is closed unless it is named here: reading needs `read`, whatever changes something
    needs `write`, and what removes something `admin`.
    """
    if path in OPEN_PATHS or path.startswith(_OPEN_PREFIX):
        return None
    if method in ("GET", "HEAD") or (method == "POST" and path.endswith(":batch")):
        return "read"
    return "admin" if method == "DELETE" else "write"


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Returns whether an address to listen on is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class AccessControl:
    """Checks the keys of requests; without keys, everybody on this machine may do everything.

    Keys are compared in constant time, by their hashes, and every request with all of them.
    """

    def __init__(self, keys: Mapping[Scope, Sequence[str]], *, any_host: bool = False) -> None:
        """Takes keys by scope, and whether a service without keys answers under every host name."""
        by_key: dict[bytes, set[Scope]] = {}
        for scope, texts in keys.items():
            for text in texts:
                by_key.setdefault(_digest(text), set()).add(scope)
        self._scopes = [(digest, frozenset(scopes)) for digest, scopes in by_key.items()]
        self._any_host = any_host

    @classmethod
    def from_environment(cls, *, any_host: bool = False) -> AccessControl:
        """Reads the keys from BATCH_PREDICTIONS_HTTP_…_KEYS, where commas separate them.

        Raises:
            SettingsError: a key is too short; the message does not quote it.
        """
        keys: dict[Scope, list[str]] = {}
        for scope, variable in VARIABLES.items():
            texts = (text.strip() for text in os.environ.get(variable, "").split(","))
            keys[scope] = [text for text in texts if text]
            if any(len(text) < MIN_KEY_CHARACTERS or not text.isascii() for text in keys[scope]):
                raise SettingsError(
                    f"variable {variable} has a key of fewer than {MIN_KEY_CHARACTERS} characters, "
                    "or with others than ASCII: `openssl rand -hex 32` makes one"
                )
        return cls(keys, any_host=any_host)

    @property
    def has_keys(self) -> bool:
        """Whether requests need a key, because the service has some."""
        return bool(self._scopes)

    def require_bindable(self, host: str) -> None:
        """Checks that a service with these keys may listen on an address.

        Raises:
            SettingsError: other machines reach it, and there is no key.
        """
        if not (self.has_keys or self._any_host or is_loopback(host)):
            raise SettingsError(
                f"--host {host} would let everybody who reaches this machine read all predictions: "
                f"set {VARIABLES['read']} to a key (`openssl rand -hex 32` makes one), or "
                "http.allow_without_keys if a proxy checks who calls"
            )

    def identify(self, scope: Scope | None, headers: Mapping[bytes, bytes]) -> bytes | None:
        """Checks the key of a request, or that the request comes under a local host name.

        Args:
            scope: what the request needs.
            headers: by lower-case name.

        Returns:
            A name for the key, for rate limits; None if the request has none and needs none.

        Raises:
            ProblemError: the key is missing, wrong, or of another scope; the host is not local.
        """
        if not self._scopes:
            if not self._any_host and scope is not None:
                _require_local_name(headers.get(b"host", b""))
            return None
        if scope is None:
            return None
        # Only browsers ask for HTML; scripts in them do not, and get no dialogue.
        challenge = _BASIC if b"text/html" in headers.get(b"accept", b"") else _BEARER
        text = _presented_key(headers, scope)
        if text is None:
            raise ProblemError(NO_KEY, "This address needs an API key.", challenge)
        presented = hashlib.sha256(text).digest()
        granted: frozenset[Scope] | None = None
        for digest, scopes in self._scopes:
            if hmac.compare_digest(digest, presented):
                granted = scopes
        if granted is None:
            raise ProblemError(WRONG_KEY, "The key is none of this service.", challenge)
        if scope not in granted and "admin" not in granted:
            raise ProblemError(MISSING_SCOPE, f"This needs a key of the scope {scope}.")
        return presented


def _presented_key(headers: Mapping[bytes, bytes], scope: Scope) -> bytes | None:
    kind, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    if kind.lower() == b"bearer" and credentials.strip():
        return credentials.strip()
    if key := headers.get(b"x-api-key", b"").strip():
        return key
    if kind.lower() == b"basic" and scope == "read":
        # Not for what changes something: a browser sends it with every request, also with those
        # that a page of another site makes.
        return _password(credentials.strip())
    return None


def _password(credentials: bytes) -> bytes | None:
    """Decodes the password of HTTP Basic credentials; the user name does not matter."""
    try:
        decoded = base64.b64decode(credentials, validate=True)
    except binascii.Error:
        return None
    return decoded.partition(b":")[2].strip() or None


def _require_local_name(host: bytes) -> None:
    """Refuses host names that are not local: pages of other sites could call the service."""
    text = host.decode("latin-1")
    name = text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]
    if name and not is_loopback(name.lower()):
        raise ProblemError(WRONG_HOST, "The header Host is not localhost.")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


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
