"""The faults of `fault_walk.py`: how each damages a shop, and the remedy that its message names."""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))

from batch_predictions_tests.worlds.retail_fixtures import environment, write_shop

LAST = dt.date(2024, 3, 17)


@dataclass
class Shop:
    """A home, its source, and variables of the environment."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """The home folder."""
        return self.folder / "home"

    @property
    def source(self) -> Path:
        """The folder of the source."""
        return self.folder / "source"

    def execute(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of the platform."""
        return subprocess.run(
            [sys.executable, "-m", "batch_predictions.cli", *arguments],
            env=environment(self.home, self.source, **self.variables),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def hashes(self) -> dict[str, str]:
        """The bytes of every partition of predictions."""
        root = self.home / "warehouse" / "predictions"
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("data.parquet"))
        }


Change = Callable[[Shop], object]


@dataclass(frozen=True)
class Fault:
    """A fault and its remedy.

    Attributes:
        name: what is damaged.
        damage: damages a shop.
        words: one of them is in the error of every command that fails.
        remedy: what the message says to do, before `run` is tried again; None: it cannot be undone.
    """

    name: str
    damage: Change
    words: tuple[str, ...]
    remedy: Change | None = None


def text(name: str, content: str | bytes) -> Change:
    """Writes a file of the shop's folder."""

    def write(shop: Shop) -> None:
        path = shop.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return write


def half(pattern: str) -> Change:
    """Truncates the first file of a pattern."""

    def truncate(shop: Shop) -> None:
        path = sorted(shop.folder.glob(pattern))[0]
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])

    return truncate


def zeroed(pattern: str, start: int, number: int) -> Change:
    """Writes zeroes into the first file of a pattern."""

    def write(shop: Shop) -> None:
        path = sorted(shop.folder.glob(pattern))[0]
        content = path.read_bytes()
        path.write_bytes(content[:start] + bytes(number) + content[start + number :])

    return write


def garbage(pattern: str) -> Change:
    """Replaces the first file of a pattern by bytes that mean nothing."""

    def write(shop: Shop) -> None:
        sorted(shop.folder.glob(pattern))[0].write_bytes(b"\x00garbage{[" * 40)

    return write


def remove(pattern: str) -> Change:
    """Removes files and folders."""

    def unlink(shop: Shop) -> None:
        for path in sorted(shop.folder.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return unlink


def csv_source(content: str | bytes) -> Change:
    """Replaces the interactions of the source by a CSV file."""

    def write(shop: Shop) -> None:
        (shop.source / "interactions.parquet").rename(shop.folder / "interactions.parquet")
        text("source/interactions.csv", content)(shop)

    return write


def original_source(shop: Shop) -> None:
    """Puts the interactions of the source back."""
    for path in shop.source.glob("interactions*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_shop(shop.source, days=28, last=LAST)


def setting(name: str, value: str) -> Change:
    """Sets a variable of the environment."""
    return lambda shop: shop.variables.update({name: value})


def no_settings(shop: Shop) -> None:
    """Takes the variables back."""
    shop.variables.clear()


def doctor(shop: Shop) -> None:
    """The remedy `doctor --repair`."""
    shop.execute("doctor", "--repair")


def nothing(shop: Shop) -> None:
    """The next run needs no remedy."""


def damaged_page(shop: Shop) -> None:
    """A page of the source's Parquet file that does not decompress."""
    path = shop.source / "interactions.parquet"
    rows = pq.read_table(path)
    pq.write_table(rows, path, compression="zstd")
    zeroed("source/interactions.parquet", 20, 200)(shop)


def differing_in_case(shop: Shop) -> None:
    """Columns of the source that differ in case only."""
    path = shop.source / "interactions.parquet"
    rows = pq.read_table(path)
    pq.write_table(rows.append_column("USER_ID", rows["user_id"]), path)


def reserved_column(shop: Shop) -> None:
    """A column of the source that is named like one of ours."""
    path = shop.source / "interactions.parquet"
    rows = pq.read_table(path)
    for name in ("__source", "__day", "__problem", "source", "row_number", "problem"):
        rows = rows.append_column(name, pa.array(["x"] * len(rows)))
    pq.write_table(rows, path)


def home_is_a_file(shop: Shop) -> None:
    """The home's path is a file."""
    shop.home.rename(shop.folder / "aside")
    shop.home.write_text("")


def home_back(shop: Shop) -> None:
    """Puts the home back."""
    shop.home.unlink()
    (shop.folder / "aside").rename(shop.home)


FAULTS = [
    Fault(
        "state.yaml unreadable",
        text("home/state.yaml", "first_day: ["),
        ("state.yaml",),
        remove("home/state.yaml"),
    ),
    Fault(
        "state.yaml empty", text("home/state.yaml", ""), ("state.yaml",), remove("home/state.yaml")
    ),
    Fault("state.yaml missing", remove("home/state.yaml"), ("state.yaml",), nothing),
    Fault("home is a file", home_is_a_file, ("home",), home_back),
    Fault(
        "settings are no YAML",
        text("home/batch_predictions.yaml", "a: [1"),
        ("batch_predictions.yaml",),
        remove("home/batch_predictions.yaml"),
    ),
    Fault(
        "unknown setting",
        text("home/batch_predictions.yaml", "sources: {}"),
        ("sources",),
        remove("home/batch_predictions.yaml"),
    ),
    Fault("last_run.json unreadable", garbage("home/last_run.json"), ("last_run",), nothing),
    Fault(
        "log of ingests unreadable",
        garbage("home/ingests/interactions.json"),
        ("interactions.json",),
        doctor,
    ),
    Fault(
        "index of files unreadable",
        garbage("home/ingests/interactions.files.json"),
        ("interactions.files.json",),
        nothing,
    ),
    Fault(
        "raw partition truncated",
        half("home/warehouse/raw/interactions/*/data.parquet"),
        ("data.parquet",),
        nothing,
    ),
    Fault(
        "raw snapshot truncated",
        half("home/warehouse/raw/items/data.parquet"),
        ("data.parquet",),
        nothing,
    ),
    Fault(
        "feature partition truncated",
        half("home/warehouse/features/user_activity/*/data.parquet"),
        ("data.parquet",),
        nothing,
    ),
    Fault(
        "prediction truncated",
        half("home/warehouse/predictions/recommendations/*/data.parquet"),
        ("data.parquet",),
        nothing,
    ),
    Fault(
        "prediction with a damaged page",
        zeroed("home/warehouse/predictions/recommendations/*/data.parquet", 60, 100),
        ("data.parquet",),
        doctor,
    ),
    Fault(
        "metrics truncated",
        half("home/warehouse/evaluation/model_metrics/*/*/data.parquet"),
        ("data.parquet",),
        nothing,
    ),
    Fault(
        "views unreadable",
        garbage("home/warehouse.duckdb"),
        ("warehouse.duckdb",),
        remove("home/warehouse.duckdb"),
    ),
    Fault(
        "decision unreadable", garbage("home/models/churn/decisions/*.json"), ("decisions",), doctor
    ),
    Fault(
        "model damaged",
        zeroed("home/models/churn/versions/*/[!m]*", 0, 40),
        ("versions", "churn"),
        nothing,
    ),
    Fault(
        "manifest of a model unreadable",
        garbage("home/models/churn/versions/*/manifest.json"),
        ("manifest.json",),
        nothing,
    ),
    Fault(
        "kept results damaged",
        zeroed("home/inference/recommendations/*/results/*.parquet", 100, 64),
        ("results",),
        nothing,
    ),
    Fault(
        "manifest of a stage unreadable",
        garbage("home/inference/recommendations/*/staged-*/manifest.json"),
        ("manifest.json",),
        nothing,
    ),
    Fault("serving.sqlite unreadable", garbage("home/serving.sqlite"), ("serving.sqlite",), doctor),
    Fault(
        "serving.sqlite damaged",
        zeroed("home/serving.sqlite", 4096, 40000),
        ("serving.sqlite",),
        doctor,
    ),
    Fault("serving.sqlite missing", remove("home/serving.sqlite*"), ("release", "run"), nothing),
    Fault(
        "pending.json unreadable",
        text("home/damaged/pending.json", "{"),
        ("pending.json",),
        remove("home/damaged"),
    ),
    Fault(
        "Dagster's runs unreadable",
        garbage("home/dagster/history/runs.db"),
        ("runs.db", "dagster"),
        remove("home/dagster"),
    ),
    Fault(
        "dagster.yaml unreadable",
        text("home/dagster/dagster.yaml", "a: ["),
        ("dagster.yaml",),
        nothing,
    ),
    Fault(
        "serving.url of another database",
        setting("BATCH_PREDICTIONS_SERVING__URL", "oracle://a/b"),
        ("serving.url",),
        no_settings,
    ),
    Fault(
        "serving.url is no URL",
        setting("BATCH_PREDICTIONS_SERVING__URL", "nonsense"),
        ("serving.url",),
        no_settings,
    ),
    Fault(
        "PostgreSQL is down",
        setting("BATCH_PREDICTIONS_SERVING__URL", "postgresql+psycopg://u:secret@127.0.0.1:1/x"),
        ("serving.url", "127.0.0.1"),
        no_settings,
    ),
    Fault("source missing", remove("source"), ("source",), original_source),
    Fault(
        "source file empty",
        text("source/interactions.parquet", ""),
        ("interactions.parquet",),
        original_source,
    ),
    Fault(
        "source file no Parquet",
        garbage("source/interactions.parquet"),
        ("interactions.parquet",),
        original_source,
    ),
    Fault("source page damaged", damaged_page, ("interactions",), original_source),
    Fault(
        "source columns differ in case", differing_in_case, ("USER_ID", "user_id"), original_source
    ),
    Fault(
        "source columns named like ours",
        reserved_column,
        ("interactions.parquet",),
        original_source,
    ),
    Fault(
        "CR line ends alone",
        csv_source("user_id,item_id,date\ru,i,2024-03-01\rv,i,2024-03-02\r"),
        ("interactions.csv",),
        original_source,
    ),
    Fault(
        "a line of 10 MB",
        csv_source("user_id,item_id,date\nu,i,2024-03-01\nv," + "x" * 10_000_000 + ",2024-03-02\n"),
        ("interactions.csv",),
        original_source,
    ),
    Fault(
        "UTF-16",
        csv_source("user_id,item_id,date\nu,i,2024-03-01\n".encode("utf-16")),
        ("interactions.csv",),
        original_source,
    ),
    Fault(
        "unknown plugin",
        setting("BATCH_PREDICTIONS_PLUGINS", '["no_such_module"]'),
        ("no_such_module",),
        no_settings,
    ),
]
