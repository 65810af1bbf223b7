"""A bucket of an S3 server in a process of its own, or of a store that a variable names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
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
from batch_predictions_tests.worlds import bucket_proxy
from batch_predictions_tests.worlds.bucket_proxy import CONTROL, Kind

SERVER = "BATCH_PREDICTIONS_TEST_S3"
"""The variable with the URL of an S3 server; its credentials are those of AWS_ACCESS_KEY_ID, …"""
STORE = "BATCH_PREDICTIONS_TEST_BUCKET"
"""The variable with the URL of a bucket that exists, such as az://lake, of the environment."""
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
    """Reaches the store that a variable names, or starts one; processes do by the environment.

    Yields:
        Takes a new home in it at each call. What the homes have is removed at the end.
    """
    pytest.importorskip("deltalake", reason="pip install -e '.[lakehouse]'")
    hooks = list(durability._hooks)
    folder = f"batch-predictions-tests-{uuid.uuid4().hex}"
    if STORE in os.environ:
        root = f"{os.environ[STORE]}/{folder}"
        try:
            yield lambda: Bucket(f"{root}/{uuid.uuid4().hex}")
        finally:
            durability._hooks[:] = hooks
            objects = ObjectFolder(root, "a test's homes", RuntimeError)
            in_threads(objects.delete, objects.list())
        return
    boto3: Any = pytest.importorskip("boto3", reason="moto is not installed")
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


@dataclass(frozen=True)
class FaultyBucket(Bucket):
    """A home in a bucket whose requests can be made to fail.

    Attributes:
        proxy: its URL.
    """

    proxy: str

    @contextmanager
    def faults(self, kind: Kind, pattern: str, every: int = 1, most: int = 1) -> Iterator[None]:
        """Has requests fail in the block, and asserts that one did.

        Args:
            kind: of the faults.
            pattern: searched in `<method> <path>`.
            every: how many requests that match there are to a fault.
            most: number of faults.
        """
        self._plan({"kind": kind, "pattern": pattern, "every": every, "most": most})
        try:
            yield
        finally:
            made = self._plan({"kind": kind, "pattern": "", "every": 1, "most": 0})
        assert made, f"no request was {pattern}"

    def _plan(self, plan: dict[str, object]) -> int:
        """Gives the proxy a plan. Returns the number of faults of the one before."""
        content = json.dumps(plan).encode()
        request = urllib.request.Request(self.proxy + CONTROL, content, method="PUT")
        with urllib.request.urlopen(request) as answer:
            return int(answer.read())


@contextmanager
def faulty(bucket: Bucket, variables: dict[str, str] | None = None) -> Iterator[FaultyBucket]:
    """Puts the proxy before the S3 server of the environment, as long as the block runs.

    Args:
        bucket: the home.
        variables: of the environment, where `AWS_ENDPOINT_URL` becomes the proxy's.
    """
    environment = os.environ if variables is None else variables
    if STORE in os.environ:
        pytest.skip("the proxy is one of S3 servers")
    target = environment["AWS_ENDPOINT_URL"]
    if not target.startswith("http://"):
        pytest.skip("the proxy reaches servers without encryption only")
    command = [sys.executable, bucket_proxy.__file__, target]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        proxy = process.stdout.readline().strip()
        environment["AWS_ENDPOINT_URL"] = proxy
        try:
            yield FaultyBucket(bucket.url, proxy)
        finally:
            environment["AWS_ENDPOINT_URL"] = target
            process.stdin.close()
