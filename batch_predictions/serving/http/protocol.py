"""HTTP/1.1 by uvicorn and httptools, for clients that would rather speak HTTP/2."""

from __future__ import annotations

import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_OFFER = re.compile(
    rb"\A([A-Z]+ [^\r\n]+ HTTP/1\.1\r\n(?:[^\r\n]+\r\n)*?)upgrade:[ \t]*h2c[ \t]*\r\n",
    re.IGNORECASE,
)
"""A request's beginning up to the header `Upgrade: h2c`, and never its body."""


class HttpProtocol(HttpToolsProtocol):
    """Ignores the offer to change to HTTP/2, as a server may (RFC 9110, Upgrade).

    Java's HttpClient makes it with every first request. httptools takes it for accepted, and would
    drop the request's body.
    """

    def data_received(self, data: bytes) -> None:
        """Takes bytes of a connection."""
        if b"h2c" in data:
            data = _OFFER.sub(rb"\1", data)
        parse: Any = super().data_received
        parse(data)
