"""Runs the service: one process, or several workers that share its socket."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from batch_predictions.serving.http.access import AccessControl
from batch_predictions.serving.http.service_metrics import WORKERS_FOLDER
from batch_predictions.serving.server.protocol import HttpProtocol
from batch_predictions.settings import Settings, SettingsError

FACTORY = "batch_predictions.serving.server.http_app:make_worker_app"
STOP_SECONDS = 10
"""How long requests may take to end after a signal."""
BACKLOG = 2_048
KEEP_ALIVE_SECONDS = 30


def serve(settings: Settings, host: str, port: int, workers: int) -> None:
    """Answers requests until a SIGTERM or SIGINT; requests that have begun are ended first.

    Args:
        settings: of the home; worker processes load them from the environment again.
        host: address to listen on.
        port: port to listen on; 0: any free one.
        workers: number of processes.

    Raises:
        SettingsError: the address cannot be listened on, or only with API keys.
    """
    access = AccessControl.from_environment(any_host=settings.http.allow_without_keys)
    access.require_bindable(host)
    listening = _listen(host, port)
    address = _address(listening)
    keys = "with API keys" if access.has_keys else "without API keys"
    print(f"serving at {address} ({keys}); Ctrl-C stops it", file=sys.stderr)
    print(f"  curl {address}/v1/recommendations/1", file=sys.stderr, flush=True)
    if settings.http.explorer:
        print(f"  in a browser: {address}/explorer", file=sys.stderr, flush=True)
    config = _configure(settings, workers)
    with listening:
        if workers == 1:
            _Server(config).run(sockets=[listening])
            return
        with _shared_metrics():
            Multiprocess(config, [listening]).run()


class _Server(uvicorn.Server):
    """Ends with exit code 0 after a signal; uvicorn's would raise the signal again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Also SIGINT, which shells have background processes ignore.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        yield

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.handle_exit(number, frame)


def _configure(settings: Settings, workers: int) -> uvicorn.Config:
    proxies = settings.http.trusted_proxies
    options: dict[str, Any] = {
        "factory": True,
        "http": HttpProtocol,
        "loop": "uvloop",
        "ws": "none",
        "lifespan": "on",
        # Paths have ids of users.
        "access_log": False,
        "log_level": "warning",
        "server_header": False,
        "proxy_headers": bool(proxies),
        "forwarded_allow_ips": proxies or None,
        "timeout_graceful_shutdown": STOP_SECONDS,
        "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "backlog": BACKLOG,
        "workers": workers,
    }
    return uvicorn.Config(FACTORY, **options)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise SettingsError(f"--host {host} is no address of this machine: {error}") from None
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise SettingsError(
            f"--host {host} --port {port} cannot be listened on ({error.strerror}): choose another "
            "--port, or end the process that uses it"
        ) from None
    listening.set_inheritable(True)
    return listening


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def _shared_metrics() -> Iterator[None]:
    """A folder in which workers count together; removed at the end."""
    folder = tempfile.mkdtemp(prefix="batch-predictions-metrics-")
    os.environ[WORKERS_FOLDER] = folder
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
