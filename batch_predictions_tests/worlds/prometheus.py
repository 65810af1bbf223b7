"""A Prometheus server of a test's own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

LISTENING = re.compile(r'msg="Listening on" address=127\.0\.0\.1:(\d+)')


class Prometheus:
    """Its HTTP interface."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}/api/v1/"

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self._address}{path}?{query}", timeout=30) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return answer["data"]

    def values(self, query: str) -> list[float]:
        """The values of a query now; none where it has no data."""
        result = self.get("query", query=query)["result"]
        return [float(series["value"][1]) for series in result]


@contextmanager
def running_prometheus(folder: Path, configuration: dict[str, Any]) -> Iterator[Prometheus]:
    """A server with a configuration; skips where Prometheus is not installed."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    file = folder / "prometheus.yaml"
    file.write_text(yaml.safe_dump(configuration), encoding="utf-8")
    options = [f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"]
    process = subprocess.Popen(
        [binary, *options, "--web.listen-address=127.0.0.1:0"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    try:
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            if match := LISTENING.search(line):
                break
        else:
            raise AssertionError("".join(said))
        yield Prometheus(int(match[1]))
    finally:
        process.terminate()
        process.communicate(timeout=60)
