"""A home is for its owner alone, and its logs and previews have no ids of users and items."""

from __future__ import annotations

import datetime as dt
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_predictions_tests.worlds.retail_fixtures import environment, run_command

pytestmark = pytest.mark.slow

LAST = dt.date(2024, 3, 17)
DAYS, USERS, ITEMS = 22, 12, 8
SECONDS_TO_START = 300.0
"""How long the UI may take on a busy machine before it counts as stuck."""
PLANTED = re.compile(rb"zq(?:user|item|review|words)\w*")
"""Parts of ids and texts of the source."""


def write_source(folder: Path) -> None:
    """Purchases and reviews whose ids and texts have a mark."""
    folder.mkdir()
    purchases, reviews = [], []
    for number in range(DAYS):
        day = LAST - dt.timedelta(days=DAYS - 1 - number)
        for user in range(USERS):
            ids = {"user_id": f"zquser{user}", "item_id": f"zqitem{(user + number) % ITEMS}"}
            purchases.append({**ids, "occurred_at": day, "amount": 2.0, "quantity": 1.0})
            review = {"review_id": f"zqreview{number}-{user}", "rating": 1.0 + 4 * (user % 2)}
            text = f"zqwords{user} {'good and fine' if user % 2 else 'bad and poor'}"
            reviews.append({**ids, **review, "text": text, "written_at": day})
    for name, rows in (("interactions", purchases), ("reviews", reviews)):
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    # A row that is refused, with its values in the quarantine.
    bad = {**purchases[0], "occurred_at": None}
    pq.write_table(pa.Table.from_pylist([*purchases, bad]), folder / "interactions.parquet")


@dataclass
class Shop:
    """A home on which commands ran with a umask of 0, and what they wrote to their outputs."""

    folder: Path
    env: dict[str, str]
    logs: dict[str, bytes]

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def run(self, *arguments: str, **env: str) -> None:
        process = run_command(*arguments, env={**self.env, **env}, cwd=self.folder)
        self.logs[" ".join(arguments)] = (process.stdout + process.stderr).encode()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("privacy")
    write_source(folder / "source")
    env = environment(folder / "home", folder / "source") | {
        "BATCH_PREDICTIONS_RECOMMENDER__TWO_STAGE": "false",
        "BATCH_PREDICTIONS_SENTIMENT__CANDIDATES": '["nb_lr"]',
        "BATCH_PREDICTIONS_DEMAND__CANDIDATES": '["linear_regression"]',
        "BATCH_PREDICTIONS_DEMAND__MIN_DAYS": "7",
    }
    umask = os.umask(0)
    try:
        world = Shop(folder, env, {})
        world.run("run", "--date", str(LAST - dt.timedelta(days=1)))
        world.run("run", "--date", str(LAST))
        world.run("prune")
        world.run("audiences", "export", "retention", "--output", str(folder / "audience.csv"))
        open_and_close_ui(world)
        yield world
    finally:
        os.umask(umask)


def open_and_close_ui(shop: Shop) -> None:
    """Starts the UI with its daemon as a script does in the background, and ends it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = shop.folder / "ui.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "batch_predictions.cli", "ui", "--port", str(port)],
            env=shop.env,
            cwd=shop.folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Shells have background processes ignore SIGINT, by which Dagster ends its own.
            preexec_fn=ignore_interrupts,
        )
        try:
            wait_until(lambda: is_answering(f"http://127.0.0.1:{port}/server_info"), process)
            # The daemon's storage is there as soon as it has ticked.
            wait_until((shop.home / "dagster" / "schedules" / "schedules.db").exists, process)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(120)
    shop.logs["ui"] = log.read_bytes()
    log.unlink()


def ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while not condition():
        assert process.poll() is None, "the UI has ended"
        assert time.monotonic() < deadline, "the UI does not answer"
        time.sleep(0.2)


def is_answering(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


def test_everything_is_for_the_owner_alone(shop: Shop) -> None:
    """Whatever the umask: files of runs, an export, a publish, the UI and a prune."""
    paths = [shop.home, *shop.home.rglob("*"), shop.folder / "audience.csv"]
    names = {path.name for path in paths}
    expected = {"serving.sqlite", "serving.sqlite-wal", "schedules.db", "run.lock", "index.db"}
    assert expected | {"dagster.yaml", "data.parquet", "warehouse.duckdb", "compute_logs"} <= names
    assert [str(path) for path in paths if path.stat().st_mode & 0o077] == []


def test_logs_and_outputs_of_runs_have_no_ids_and_texts(shop: Shop) -> None:
    logs = dict(shop.logs)
    for path in (shop.home / "dagster").rglob("*"):
        if path.is_file():
            logs[str(path.relative_to(shop.home))] = path.read_bytes()
    assert len(logs) > 10
    found = {name: set(PLANTED.findall(text)) for name, text in logs.items()}
    assert {name: ids for name, ids in found.items() if ids} == {}
    # They are where they belong.
    path = shop.home / f"warehouse/raw/reviews/date={LAST}/data.parquet"
    rows = pq.read_table(path, partitioning=None)
    assert PLANTED.search(str(rows["text"][0]).encode())


def test_previews_are_shown_without_ids(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(shop.home / "dagster"))
    previews = {}
    with dg.DagsterInstance.get() as instance:
        for key in instance.all_asset_keys():
            event = instance.get_latest_materialization_event(key)
            materialization = event.asset_materialization if event else None
            metadata = materialization.metadata if materialization else {}
            if "preview" in metadata:
                previews[key.to_user_string()] = str(metadata["preview"].value)
    assert {"raw/reviews", "predictions/recommendations", "features/user_activity"} <= set(previews)
    reviews = previews["raw/reviews"].splitlines()
    assert "review_id" in reviews[0] and "rating" in reviews[0]
    assert "…" in reviews[2] and "execution.show_identifiers" in reviews[-1]


def test_ids_are_shown_if_the_settings_say_so(shop: Shop) -> None:
    shown = {"BATCH_PREDICTIONS_EXECUTION__SHOW_IDENTIFIERS": "true"}
    process = run_command(
        "run", "--force", "--date", str(LAST), env=shop.env | shown, cwd=shop.folder
    )
    assert PLANTED.search(process.stdout.encode())
