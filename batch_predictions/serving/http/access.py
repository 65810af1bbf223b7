"""Who may call: API keys by scope, and the names under which an open service answers."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal

from batch_predictions.serving.http.problems import (
    MISSING_SCOPE,
    NO_KEY,
    WRONG_HOST,
    WRONG_KEY,
    ProblemError,
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
