"""Writes the resources that steps used into `evaluation.costs`, run by run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from batch_predictions.core import process_records
from batch_predictions.core.file_lock import file_lock
from batch_predictions.core.home_lock import processes_folder
from batch_predictions.operations.costs.usage import FOLDER, WRITER, StepCost
from batch_predictions.settings import CostsSettings, Settings
from batch_predictions.tables import COSTS
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.arrow_rows import arrow_rows

RANGE = "..."
"""Between the first and the last partition of a run of several."""


@dataclass(frozen=True)
class _Node:
    """The steps of a run that make the same assets."""

    steps: Sequence[StepCost]

    @property
    def assets(self) -> dict[str, dict[str, int]]:
        """Number of rows that the steps made, by asset and partition."""
        rows: dict[str, dict[str, int]] = {}
        for step in self.steps:
            for asset, partitions in step.assets.items():
                rows.setdefault(asset, {}).update(partitions)
        return rows

    def sum(self, name: str) -> Any:
        """Sums a measured figure over all steps."""
        return sum(getattr(step, name) for step in self.steps)


class CostsError(RuntimeError):
    """Steps have no record of what they used."""


def collect_costs(
    settings: Settings,
    partition_of: Callable[[str], str | None] = lambda run_id: None,
    expected: Mapping[str, Collection[str]] | None = None,
) -> int:
    """Writes the records of runs that have ended, and removes them.

    Records of a run that made nothing, and whose partition is not known, are kept.

    Args:
        settings: of the home, with prices.
        partition_of: the last partition of a run, for assets that it did not make; None: unknown.
        expected: by run, the steps that must have a record.

    Returns:
        The number of rows.

    Raises:
        CostsError: expected steps have none; the other records are written.
    """
    folder, warehouse, written = settings.home / FOLDER, Warehouse.of(settings), 0
    missing = {run_id: set(steps) for run_id, steps in (expected or {}).items() if steps}
    if not (folder.exists() or missing):
        return 0
    folder.mkdir(exist_ok=True)
    processes = processes_folder(settings.home)
    # A command and a sensor may collect at once.
    with file_lock(folder / ".lock"):
        paths_of: dict[str, list[Path]] = {}
        for path in sorted(folder.glob("*.jsonl")):
            paths_of.setdefault(path.stem.partition(WRITER)[0], []).append(path)
        for run_id, paths in paths_of.items():
            if process_records.is_running(processes, run_id):
                continue
            steps = [step for path in paths for step in _steps(path)]
            missing.get(run_id, set()).difference_update(step.step for step in steps)
            rows = list(_rows(steps, settings.costs, partition_of(run_id)))
            if steps and not rows:
                continue
            _write(warehouse, run_id, rows)
            written += len(rows)
            # A process that dies before this writes the same rows again.
            for path in paths:
                path.unlink()
    if lost := sum(map(len, missing.values())):
        raise CostsError(f"what {lost} steps have used was not recorded in {folder}")
    return written


def _write(warehouse: Warehouse, run_id: str, rows: Sequence[dict[str, Any]]) -> None:
    """Writes the rows of a run beside those of others."""
    for date in sorted({row["date"] for row in rows}):
        others = warehouse.query(
            f"select * exclude (date) from {COSTS.qualified} "
            "where date = $date::DATE and run_id <> $run_id",
            {"date": date, "run_id": run_id},
        )
        of_date = [{**row, "run_id": run_id} for row in rows if row["date"] == date]
        table = arrow_rows(COSTS, of_date)
        both = pa.concat_tables([others.select(table.schema.names).cast(table.schema), table])
        warehouse.replace_partition(COSTS, date, both)


def _steps(path: Path) -> list[StepCost]:
    """Reads the records of a run; a line that a killed process left unfinished is left out."""
    steps = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            steps.append(StepCost(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return steps


def _rows(
    steps: Sequence[StepCost], prices: CostsSettings, partition: str | None
) -> Iterator[dict[str, object]]:
    """Yields a row per asset of a run; assets that are made together share their steps equally.

    Steps of assets that were not materialized, because one of them failed, count for the run's last
    partition, under the name of the step.
    """
    by_node: dict[str, list[StepCost]] = {}
    for step in steps:
        by_node.setdefault(step.step.split(".")[0], []).append(step)
    nodes = {name: _Node(of_node) for name, of_node in by_node.items()}
    keys = {key for node in nodes.values() for rows in node.assets.values() for key in rows if key}
    newest = max(keys, default=partition)
    if newest is None:
        return
    for name, node in nodes.items():
        made = node.assets or {name.replace("__", "."): {newest: 0}}
        for asset, partitions in made.items():
            present = sorted(key for key in partitions if key) or [newest]
            first, last = present[0], present[-1]
            share = 1 / len(made)
            yield {
                "date": last,
                "asset": asset,
                "partition_key": first if first == last else f"{first}{RANGE}{last}",
                "rows": sum(partitions.values()),
                "seconds": share * node.sum("seconds"),
                "cpu_seconds": share * node.sum("cpu_seconds"),
                "peak_mib": max(step.peak_mib for step in node.steps),
                "bytes_read": int(share * node.sum("bytes_read")),
                "bytes_written": int(share * node.sum("bytes_written")),
                "cost": share * _cost(node.steps, prices),
                "requests": int(share * _requests(node.steps).total()),
                "bytes_sent": int(share * node.sum("bytes_sent")),
                "bytes_received": int(share * node.sum("bytes_received")),
            }


def _cost(steps: Sequence[StepCost], prices: CostsSettings) -> float:
    """Cost of steps: cores and GPUs by the hour, written bytes by the GiB and month.

    Requests to a bucket are charged by the million, downloads by the GiB; removals are free.
    """
    cpu = sum(step.cpu_seconds for step in steps)
    on_gpu = any(step.device.startswith("cuda") for step in steps)
    gpu = sum(step.seconds for step in steps if step.step.endswith(".score")) if on_gpu else 0.0
    written = sum(step.bytes_written for step in steps) / 2**30
    local = cpu / 3600 * prices.core_hour + gpu / 3600 * prices.gpu_hour
    requests = _requests(steps)
    writes, reads = requests["put"] + requests["list"], requests["get"] + requests["head"]
    received = sum(step.bytes_received for step in steps) / 2**30
    bucket = writes / 1e6 * prices.million_writes + reads / 1e6 * prices.million_reads
    return local + written * prices.gib_month + bucket + received * prices.gib_received


def _requests(steps: Sequence[StepCost]) -> Counter[str]:
    """Numbers of requests to a bucket, by kind."""
    return sum((Counter(step.requests) for step in steps), Counter())
