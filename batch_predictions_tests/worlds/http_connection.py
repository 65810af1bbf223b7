"""A connection of the HTTP service in memory, whose time passes only when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast
from unittest.mock import Mock

import uvicorn
from uvicorn.server import ServerState

from batch_predictions.serving.server import protocol as protocol_module
from batch_predictions.serving.server.protocol import HttpProtocol


class FakeTransport(asyncio.Transport):
    """A connection in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.unsent = 0
        self.is_paused = self.is_closed = self.is_aborted = False

    def write(self, data: Any) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def is_closing(self) -> bool:
        return self.is_closed or self.is_aborted

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True


class FakeLoop:
    """Runs what is scheduled only when a test says so, and no application."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []
        self.timers: list[tuple[asyncio.TimerHandle, Callable[[], None]]] = []

    def call_soon(self, callback: Any, *args: Any, **_: Any) -> Any:
        self.soon.append(lambda: callback(*args))

    def call_later(self, delay: float, callback: Any, *args: Any, **_: Any) -> Any:
        handle = asyncio.TimerHandle(delay, callback, args, self.as_loop())
        self.timers.append((handle, lambda: callback(*args)))
        return handle

    def create_task(self, coroutine: Any, **_: Any) -> Any:
        coroutine.close()
        return Mock()

    def as_loop(self) -> asyncio.AbstractEventLoop:
        """This loop, as what it stands for: it has the methods that a protocol calls."""
        return cast(asyncio.AbstractEventLoop, self)

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: Any) -> None:
        pass


async def _run_nothing(_scope: Any, _receive: Any, _send: Any) -> None:
    """An application."""


class Connection:
    """A protocol on a fake transport."""

    def __init__(self) -> None:
        self.loop, self.transport = FakeLoop(), FakeTransport()
        config = uvicorn.Config(_run_nothing, interface="asgi3", ws="none", log_config=None)
        self.protocol = HttpProtocol(config, ServerState(), {}, self.loop.as_loop())
        self.protocol.connection_made(self.transport)

    def receive(self, *pieces: bytes) -> None:
        """Hands bytes to the service."""
        for piece in pieces:
            self.protocol.data_received(piece)

    def answer(self) -> None:
        """Completes the answer of the request that is being answered."""
        cycle = self.protocol._running
        assert cycle is not None
        cycle.response_complete = True
        self.protocol.on_response_complete()
        for callback in self.loop.soon:
            callback()
        self.loop.soon.clear()

    def watch(self) -> bool:
        """Lets `WATCH_SECONDS` pass; whether the connection goes on."""
        [look] = [
            callback
            for handle, callback in self.loop.timers
            if handle.when() == protocol_module.WATCH_SECONDS and not handle.cancelled()
        ]
        self.loop.timers.clear()
        look()
        return not self.transport.is_aborted
