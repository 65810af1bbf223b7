"""HTTP/1.1 by uvicorn and httptools, with limits of what a connection may hold and how long.

uvicorn parses all bytes that it has read at once, has no limit of a request's head, and waits
forever for a client that has begun a request or does not read its answers.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from batch_predictions.serving.http.problems import HEAD_TOO_LARGE, NOT_HTTP, ProblemError

MAX_HEAD_BYTES = 64 << 10
"""Bytes of a request's address and headers; also of what is between two parts of a body."""
PIECE_BYTES = 2 << 10
"""Bytes that are parsed at once: they bound the requests that wait for the answers before them."""
WATCH_SECONDS = 15.0
"""How often a connection is looked at: one that waits for its client twice for the same is ended.

So a head has 15 to 30 seconds from its first byte.
"""
MIN_WATCH_BYTES = 16 << 10
"""What a client has to send of a body, or to read of an answer, between two looks."""


class _Flow(FlowControl):
    """Reads a connection on only when what has been read of it is parsed, and none waits."""

    def __init__(self, transport: asyncio.Transport, protocol: HttpProtocol) -> None:
        super().__init__(transport)
        self._protocol = protocol
        self.resumed_writes = 0

    def resume_reading(self) -> None:
        if self.read_paused:
            # Not now: the caller has not begun the next request of the pipeline yet.
            self._protocol.loop.call_soon(self._protocol.parse)

    def resume_writing(self) -> None:
        self.resumed_writes += 1
        super().resume_writing()


class HttpProtocol(HttpToolsProtocol):
    """A connection that is read no faster than it is answered, and ended if its client stops.

    Offers to change the protocol are ignored, as a server may (RFC 9110, Upgrade): Java's
    HttpClient makes one with every first request.
    """

    flow: _Flow

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to watch the connection."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self)
        self._unparsed = memoryview(b"")
        self._head_bytes = self._received = 0
        self._running: RequestResponseCycle | None = None
        self._watch_timer = self.loop.call_later(WATCH_SECONDS, self._watch, None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets what has been read, and tells the request that is being answered."""
        self._watch_timer.cancel()
        if self._running is not None:
            # uvicorn tells the newest request only, which may still be in the pipeline.
            self._running.disconnected = True
            self._running.message_event.set()
        self._unparsed = memoryview(b"")
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses bytes of the connection, of which none are left while it is read."""
        self._received += len(data)
        if len(data) > PIECE_BYTES:
            self._unparsed = memoryview(data)
            self.parse()
        else:
            self._parse_piece(data)

    def parse(self) -> None:
        """Parses what has been read until requests have to wait; reads on if none does."""
        if self.pipeline or self.transport.is_closing():
            return
        FlowControl.resume_reading(self.flow)
        while self._unparsed and not (self.flow.read_paused or self.transport.is_closing()):
            piece, self._unparsed = self._unparsed[:PIECE_BYTES], self._unparsed[PIECE_BYTES:]
            self._parse_piece(piece)

    def _parse_piece(self, piece: bytes | memoryview) -> None:
        self._unset_keepalive_if_required()
        self._head_bytes += len(piece)
        newest = self.cycle
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as offer:
            if self.parser.get_method() == b"CONNECT":
                self._refuse(ProblemError(NOT_HTTP, "The service is no proxy."))
                return
            self._parse_piece(self._head_without_offer())
            self._parse_piece(piece[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse(ProblemError(NOT_HTTP, "The request cannot be read."))
        if self.cycle is not newest:
            self._head_bytes = 0
        elif self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(ProblemError(HEAD_TOO_LARGE, f"At most {MAX_HEAD_BYTES:,} bytes."))

    def _should_upgrade(self) -> bool:
        # What uvicorn leaves alone, since it is parsed again.
        return True

    def _head_without_offer(self) -> bytes:
        """The head of a request without `Upgrade`, which httptools takes for accepted.

        It is for a new parser, which then gets the body, of which nothing has been parsed.
        """
        head = [self.parser.get_method(), b" ", self.url]
        head += [b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"".join([*head, b"\r\n"])

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_headers_complete(self) -> None:
        """Begins a request; one of HTTP/1.1 has one header Host (RFC 9112, 3.2)."""
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts != 1 and self.parser.get_http_version() == "1.1":
            self._refuse(ProblemError(NOT_HTTP, "A request has one header Host."))
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Takes a part of a body."""
        self._head_bytes = 0
        super().on_body(body)

    def _refuse(self, problem: ProblemError) -> None:
        """Ends the connection, with the problem as answer unless another request waits for one."""
        cycle = self.cycle
        begun = cycle is not None and not cycle.response_complete
        if not self.transport.is_closing() and not (
            self.pipeline or (begun and (cycle.response_started or not cycle.more_body))
        ):
            head = [STATUS_LINE[problem.type.status], b"connection: close\r\n"]
            head += [b"%b: %b\r\n" % header for header in problem.raw_headers]
            self.transport.write(b"".join([*head, b"\r\n", problem.body]))
        self.transport.close()

    def _watch(self, before: object) -> None:
        """Ends the connection if the client made no progress since the last check."""
        now = self._awaited()
        if now is not None and now == before:
            self.transport.abort()
        else:
            self._watch_timer = self.loop.call_later(WATCH_SECONDS, self._watch, now)

    def _awaited(self) -> Any:
        """The client's progress in what the service waits for; None: it waits for nothing."""
        unsent = self.transport.get_write_buffer_size()
        cycle = self.cycle
        progress: Any
        if unsent:
            progress = self.flow.resumed_writes, unsent // MIN_WATCH_BYTES
        elif self.flow.read_paused:
            return None
        elif cycle is not None and not cycle.response_complete:
            if not cycle.more_body:
                return None
            progress = self._received // MIN_WATCH_BYTES
        elif self.timeout_keep_alive_task is not None:
            return None
        else:
            # A head, or the rest of a body that has been answered already.
            progress = "request"
        return cycle, len(self.pipeline), progress
