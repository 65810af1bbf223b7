"""A bucket of an S3 server in a process of its own, or of one that a variable names."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from batch_predictions.core import durability
from batch_predictions.core.home_bucket import CACHE_VARIABLE, bucket_of, working_folder
from batch_predictions.core.object_store import ObjectFolder, in_threads
from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse

SERVER = "BATCH_PREDICTIONS_TEST_S3"
"""The variable with the URL of an S3 server; its credentials are those of AWS_ACCESS_KEY_ID, …"""
_BUCKET = "lake"
_DEFAULTS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}
# deltalake holds Python's lock while it waits for an answer, so that a thread could not give one.
_MOTO = (
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
    """Reaches the S3 server that a variable names, or starts one; processes do by the environment.

    Yields:
        Takes a new home in it at each call. What the homes have is removed at the end.
    """
    pytest.importorskip("deltalake", reason="pip install -e '.[lakehouse]'")
    boto3: Any = pytest.importorskip("boto3", reason="moto is not installed")
    hooks = list(durability._hooks)
    folder = f"batch-predictions-tests-{uuid.uuid4().hex}"
    with _endpoint() as endpoint, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        for name, value in _DEFAULTS.items():
            monkeypatch.setenv(name, os.environ.get(name, value))
        if endpoint.startswith("http://"):
            monkeypatch.setenv("AWS_ALLOW_HTTP", "true")  # for readers that are not ours
        s3 = boto3.client("s3")
        if _BUCKET not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
            s3.create_bucket(Bucket=_BUCKET)
        try:
            yield lambda: Bucket(f"s3://{_BUCKET}/{folder}/{uuid.uuid4().hex}")
        finally:
            durability._hooks[:] = hooks
            if SERVER in os.environ:
                objects = ObjectFolder(f"s3://{_BUCKET}/{folder}", "a test's homes", RuntimeError)
                in_threads(objects.delete, objects.list())


@contextmanager
def _endpoint() -> Iterator[str]:
    """The URL of the server that the variable names, or of one of moto's."""
    if SERVER in os.environ:
        yield os.environ[SERVER]
        return
    pytest.importorskip("moto.server", reason="moto is not installed")
    command = [sys.executable, "-c", _MOTO]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-3, text=True) as server:
        assert server.stdout is not None and server.stdin is not None
        port = next(line for line in server.stdout if line.strip().isdigit()).strip()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.stdin.close()
