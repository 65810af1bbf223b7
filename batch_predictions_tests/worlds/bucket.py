"""A bucket of an S3 server in a process of its own, and homes in it."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from batch_predictions.core import durability
from batch_predictions.core.home_bucket import CACHE_VARIABLE, bucket_of, working_folder
from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse

# deltalake holds Python's lock while it waits for an answer, so that a thread could not give one.
_SERVER = (
    "from moto.server import ThreadedMotoServer as S; s = S('127.0.0.1', 0); s.start(); "
    "print(s.get_host_and_port()[1], flush=True); import sys; sys.stdin.read(); s.stop()"
)


@dataclass(frozen=True)
class Bucket:
    """The URL of an empty home in a bucket, and machines that use it.

    Attributes:
        url: of the home.
    """

    url: str

    def machine(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
        """The warehouse on a machine that has its copies in a folder.

        Args:
            folder: another one is another machine.
            monkeypatch: of the test.
        """
        monkeypatch.setenv(CACHE_VARIABLE, str(folder))
        settings = Settings(home=working_folder(self.url))
        # As `Settings.load` does: from then on what is made durable is uploaded.
        assert bucket_of(settings.home) is not None
        return Warehouse.of(settings)


@contextmanager
def bucket_server() -> Iterator[Callable[[], Bucket]]:
    """Starts an S3 server, which processes reach by the environment.

    Yields:
        Takes a new home in it at each call.
    """
    pytest.importorskip("deltalake", reason="pip install -e '.[lakehouse]'")
    pytest.importorskip("moto.server", reason="moto is not installed")
    command = [sys.executable, "-c", _SERVER]
    hooks = list(durability._hooks)
    with (
        subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-3, text=True) as server,
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        assert server.stdout is not None and server.stdin is not None
        port = next(line for line in server.stdout if line.strip().isdigit()).strip()
        endpoint = f"http://127.0.0.1:{port}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")  # for readers that are not ours
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/lake", method="PUT"))
        try:
            yield lambda: Bucket(f"s3://lake/{uuid.uuid4().hex}")
        finally:
            durability._hooks[:] = hooks
            server.stdin.close()
