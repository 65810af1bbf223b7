"""A small shop whose past weeks are run by the command `backtest`."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.settings import Settings
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.query_worlds import purchases
from batch_predictions_tests.worlds.retail_fixtures import environment, run_command

EVENTS = purchases(np.random.default_rng(1).choice([0.05, 0.2, 0.6], 40), seed=3)
LEAKY = '''
import pyarrow as pa

from batch_predictions import BatchPrediction, Table, columns, declare

COLUMNS = """
    date DATE: as of the end of this day
    user_id VARCHAR: user
    later BIGINT: purchases after the day
    model_version VARCHAR: empty, it is a rule
"""
BUYS = declare(
    Table("predictions", "buys_tomorrow", "One per user.", columns(COLUMNS), key=("user_id",))
)


class BuysScorer:
    version = "1"
    uses_gpu = False
    workers = "threads"

    @classmethod
    def open(cls, context):
        return cls()

    def score(self, rows):
        return rows.select(["user_id", "later"])


buys_tomorrow = BatchPrediction(
    table=BUYS,
    key=("user_id",),
    rows="select user_id, count(*) filter (date > $date::DATE) as later "
    "from raw.interactions group by user_id",
    scorer=BuysScorer,
)
'''
PREDICTIONS = "predictions: {spend: {predict: sum(amount), of: purchase, for: user, days: 7}}"


class Shop:
    """A home that has predicted its newest day.

    Args:
        folder: of the home and its source.
        only: tables and models that are made.
        events: purchases (day, user, item, amount).
        settings: text of the file of settings.
    """

    def __init__(
        self,
        folder: Path,
        *only: str,
        events: Iterable[tuple[dt.date, str, str, float]] = EVENTS,
        settings: str = PREDICTIONS,
    ) -> None:
        self.folder, self.home, self.only = folder, folder / "home", only
        (folder / "source").mkdir()
        names = ("occurred_at", "user_id", "item_id", "amount")
        rows = [
            dict(zip(names, event, strict=True), quantity=1.0, event_type="purchase")
            for event in events
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / "source" / "interactions.parquet")
        (folder / "leaky_shop.py").write_text(LEAKY, encoding="utf-8")
        (folder / "batch_predictions.yaml").write_text(settings, encoding="utf-8")
        self.env = environment(self.home, folder / "source") | {
            "BATCH_PREDICTIONS_PLUGINS": '["leaky_shop"]',
            "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
        }
        self.command("run")

    def words(self, *words: str) -> list[str]:
        return [*words, *(word for name in self.only for word in ("--only", name))]

    def command(self, *words: str, check: bool = True) -> str:
        process = run_command(*self.words(*words), env=self.env, cwd=self.folder, check=check)
        return process.stdout

    def backtest(self, *words: str, weeks: int = 3, check: bool = True) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(
            self.command("backtest", "--weeks", str(weeks), "--json", *words, check=check)
        )
        return answer

    def files(self) -> dict[str, bytes]:
        """Files that are served or released, and what they are made from."""
        kept = ("warehouse/raw", "warehouse/features", "warehouse/predictions", "models")
        found = [path for name in kept for path in (self.home / name).rglob("*.*")]
        found += [self.home / "serving.sqlite"]
        return {str(path): path.read_bytes() for path in found if path.is_file()}

    def rows(self) -> list[dict[str, Any]]:
        warehouse = Warehouse.of(Settings(home=self.home))
        return warehouse.query("select * from evaluation.backtests order by all").to_pylist()
