"""Runs wrk (Debian: apt-get install wrk) with a script of its own, and reads its figures."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

_DONE = """
done = function(summary, latency)
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %.3f, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, '
    .. '"failed": %d}\\n', summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, latency.max / 1e3, summary.errors.status
    + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
"""


def require_wrk() -> None:
    """Ends the program where wrk is missing."""
    if not shutil.which("wrk"):
        raise SystemExit("wrk is missing; Debian: apt-get install wrk")


def run_wrk(
    script: str, path: Path, port: int, *, connections: int, seconds: float
) -> dict[str, float]:
    """A round of requests on this machine, by one thread of wrk.

    Args:
        script: in Lua: the functions `init` and `request`.
        path: where the script is written.
        port: of the server.
        connections: kept alive.
        seconds: duration.

    Returns:
        requests, seconds, per_second, p50_ms, p99_ms, max_ms, failed.
    """
    path.write_text(script + _DONE)
    url = f"http://127.0.0.1:{port}"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(path), url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    match = re.search(r"RESULT (.*)", output)
    assert match, output
    figures: dict[str, float] = json.loads(match[1])
    figures["per_second"] = round(figures["requests"] / figures["seconds"])
    return figures
