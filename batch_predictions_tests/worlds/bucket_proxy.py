"""A proxy before an S3 server that drops requests and loses answers: a program of its own.

It is started with the server's URL, and prints its own.
"""

from __future__ import annotations

import http.client
import json
import re
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Kind = Literal["dropped", "lost", "cut"]
"""Of a fault: the server gets no request; or it does, and no answer or half of it comes back."""
CONTROL = "/-/faults"
_CONDITIONS = {"if-match", "if-none-match"}
"""Requests with these wait for each other: moto looks and writes in two steps."""
_HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "date", "server"}


@dataclass
class _Plan:
    """Which requests fail.

    Attributes:
        kind: of the faults.
        pattern: searched in `<method> <path>`.
        every: how many requests that match there are to a fault.
        most: number of faults.
        seen: requests that matched.
        made: faults.
    """

    kind: Kind
    pattern: str
    every: int
    most: int
    seen: int = 0
    made: int = 0

    def fault(self, request: str) -> Kind | None:
        """The fault of a request; None: it has none."""
        if self.made >= self.most or not re.search(self.pattern, request):
            return None
        self.seen += 1
        if self.seen % self.every:
            return None
        self.made += 1
        return self.kind


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target.removeprefix("http://")
        self.plan = _Plan("dropped", "", 1, 0)
        self.lock = threading.Lock()

    def handle_error(self, *_: object) -> None:
        """Prints nothing: clients are killed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.upstream = http.client.HTTPConnection(self.server.target)

    def finish(self) -> None:
        self.upstream.close()
        super().finish()

    def log_message(self, *_: object) -> None:
        """Prints nothing."""

    def forward(self) -> None:
        """Answers as the server does, unless the plan has a fault for the request."""
        content = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == CONTROL:
            made = self.server.plan.made
            if self.command == "PUT":
                self.server.plan = _Plan(**json.loads(content))
            self._answer(200, [], str(made).encode())
            return
        with ExitStack() as stack:
            stack.enter_context(self.server.lock)
            fault = self.server.plan.fault(f"{self.command} {self.path}")
            if not _CONDITIONS & {name.lower() for name in self.headers}:
                stack.close()
            if fault != "dropped":
                answer, content = self._ask(content)
        if fault:
            self.close_connection = True
        if fault == "cut":
            headers = [h for h in answer.getheaders() if h[0].lower() != "content-length"]
            headers.append(("content-length", str(max(len(content), 2))))
            self._answer(answer.status, headers, content[: len(content) // 2])
        elif not fault:
            self._answer(answer.status, answer.getheaders(), content)

    def _ask(self, content: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        self.upstream.request(self.command, self.path, content, dict(self.headers.items()))
        answer = self.upstream.getresponse()
        return answer, answer.read()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        names = {name.lower() for name, _ in headers}
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        if "content-length" not in names:
            self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main(target: str) -> None:
    """Forwards requests to a server until the standard input ends."""
    server = _Server(target)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
