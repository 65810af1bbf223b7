"""A home of the tiny shop: runs in processes of their own, its predictions, its answers."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tiny_shop import FIRST_DAY, TinyShop, environment

from batch_predictions.serving.lookup import Lookup

DAYS = 55
"""Days of the first run, up to a Saturday: the next day's run trains a week, too."""
NEXT_DAY = FIRST_DAY + dt.timedelta(days=DAYS)
SERVING_URL = "BATCH_PREDICTIONS_SERVING__URL"
Answers = dict[str, list[dict[str, Any]]]


@dataclass
class ShopHome:
    """A folder with a source and a home, and the variables of their runs."""

    root: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """The home folder."""
        return self.root / "home"

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the serving store."""
        return self.variables.get(SERVING_URL) or f"sqlite:///{self.home / 'serving.sqlite'}"

    def start(
        self, *arguments: str, prefix: Sequence[str] = (), **variables: str
    ) -> subprocess.Popen[str]:
        """Starts a command of the platform, by default the next day's run.

        Args:
            arguments: of `batch-predictions`.
            prefix: a program that executes the command.
            variables: of the environment.
        """
        words = arguments or ("run", "--date", f"{NEXT_DAY}", "--json")
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", "batch_predictions.cli", *words],
            env=environment(self.root, self.home, **self.variables, **variables),
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def execute(
        self, *arguments: str, prefix: Sequence[str] = (), **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        process = self.start(*arguments, prefix=prefix, **variables)
        stdout, stderr = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def run(self, *arguments: str, **variables: str) -> Any:
        """Runs a command with `--json`, which must succeed; what it printed."""
        process = self.execute(*arguments, **variables)
        if process.returncode:
            raise RuntimeError(process.stderr[-2000:])
        return json.loads(process.stdout)

    def tables(self) -> dict[str, str]:
        """SHA-256 of the rows of every partition of features and predictions."""
        folder = self.home / "warehouse"
        paths = sorted(
            path for name in ("features", "predictions") for path in (folder / name).rglob("*.p*")
        )
        return {str(path.relative_to(folder)): rows_hash(path) for path in paths}

    def answers(self) -> Answers:
        """All rows of every table of the current release, as an application reads them."""
        return read_answers(self.url)

    def restore(self, saved: Path) -> None:
        """Replaces the home by a saved one."""
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.copytree(saved, self.home)


def read_answers(url: str) -> Answers:
    """All rows of every table of a store's current release."""
    with Lookup(url) as lookup:
        names = [entry["table"] for entry in lookup.tables()]
        return {name: lookup.rows(name) for name in sorted(names)}


def rows_hash(path: Path) -> str:
    """SHA-256 of the rows of a Parquet file, not of its bytes: equal rows may be stored unlike."""
    rows = pq.ParquetFile(path).read()
    text = repr((rows.schema.names, [str(kind) for kind in rows.schema.types], rows.to_pylist()))
    return hashlib.sha256(text.encode()).hexdigest()


def make_shop(root: Path, variables: dict[str, str] | None = None) -> ShopHome:
    """A shop whose first days are released, and whose source has one day more."""
    source = TinyShop(root / "source")
    for number in range(DAYS + 1):
        source.add_day(FIRST_DAY + dt.timedelta(days=number))
    shop = ShopHome(root, variables or {})
    shop.run("run", "--date", f"{NEXT_DAY - dt.timedelta(days=1)}", "--json")
    return shop
