"""One home for the test process, and one of its own for every test that asks for it."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

# A background job of a shell script ignores SIGINT. Dagster lets SIGTERM do what SIGINT does, and
# processes that tests start would inherit it: nothing could end those that capture a step's output.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test fails because the machine is busy.
hypothesis.settings.register_profile(
    "busy_machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy_machine")

# In memory where there is room: on a disk every commit waits for an fsync, of SQLite too.
_memory = Path("/dev/shm")
if "TMPDIR" not in os.environ and _memory.is_dir() and shutil.disk_usage(_memory).free > 4 << 30:
    os.environ["TMPDIR"] = tempfile.tempdir = str(_memory)

_home = Path(tempfile.mkdtemp(prefix="batch-predictions-tests-"))
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ["BATCH_PREDICTIONS_HOME"] = str(_home)
os.environ["DAGSTER_HOME"] = ""

from batch_predictions.cli.command_line import collect_garbage_rarely  # noqa: E402
from batch_predictions.core import redaction  # noqa: E402
from batch_predictions.core.home import write_state  # noqa: E402
from batch_predictions.models.model_store import ModelStore  # noqa: E402
from batch_predictions.settings import Settings  # noqa: E402
from batch_predictions.tables import discovery  # noqa: E402
from batch_predictions.warehouse import Warehouse  # noqa: E402
from batch_predictions_tests.worlds.bucket import Bucket, bucket_server  # noqa: E402
from batch_predictions_tests.worlds.home_state import STATE  # noqa: E402
from batch_predictions_tests.worlds.postgres import BACKENDS  # noqa: E402

write_state(_home, STATE)
# At the end too: pytest's last line waits until the processes of the tests have ended.
collect_garbage_rarely()


@pytest.fixture(autouse=True)
def _isolation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Tests depend on no settings, variables or plugins of the machine or of earlier tests."""
    for name in [key for key in os.environ if key.startswith("BATCH_PREDICTIONS_")]:
        if "TEST" not in name and name != "BATCH_PREDICTIONS_HOME":
            monkeypatch.delenv(name)
    # `Settings.load(home)` sets it for the process: undone after each test.
    monkeypatch.setenv("BATCH_PREDICTIONS_HOME", str(_home))
    monkeypatch.chdir(tmp_path)
    # Plugins that a test loads are loaded for that test alone.
    monkeypatch.setattr(discovery, "_plugins", {**discovery._plugins})
    yield
    discovery.declare_of_settings(())


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what needs a GPU where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("torch sees no GPU")


@pytest.fixture(scope="module")
def new_home() -> Iterator[Callable[[], Bucket]]:
    """Makes an empty home in a bucket of an S3 server at each call."""
    with bucket_server() as server:
        yield server


@pytest.fixture
def identifiers_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages and previews have ids, as with `execution.show_identifiers`."""
    monkeypatch.setattr(redaction, "_shows_identifiers", True)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a home of this test's own, with the tests' state."""
    home = tmp_path / "home"
    write_state(home, STATE)
    return Settings(home=home)


@pytest.fixture
def warehouse(settings: Settings) -> Warehouse:
    """The warehouse of this test's own home."""
    return Warehouse.of(settings)


@pytest.fixture
def models(settings: Settings) -> ModelStore:
    """The model store of this test's own home, without models."""
    return ModelStore.of(settings)


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest) -> str | None:
    """The URL of an empty database of each kind; None is a file of SQLite in its usual place."""
    url: str | None = request.param()
    return url
