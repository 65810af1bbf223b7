"""Measures steps by Dagster's events, in whatever process runs them.

dagster.yaml names `CostHandler` among the handlers of Dagster's log. A step's events are logged in
the process that runs it, when they happen: at its end, a line with what it used is appended to
`<home>/costs/<run id>.jsonl`.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batch_predictions.core.home import HomeError
from batch_predictions.core.home_bucket import bucket_of
from batch_predictions.operations.costs.usage import (
    FOLDER,
    WRITER,
    StepCost,
    Usage,
    peak_mib,
    reset_peak,
)

if TYPE_CHECKING:
    import dagster as dg

logger = logging.getLogger(__name__)

ROW_COUNT, DEVICE = "dagster/partition_row_count", "device"
_ENDS = ("STEP_SUCCESS", "STEP_FAILURE")


class CostHandler(logging.Handler):
    """Measures the steps of this process; without a home in DAGSTER_HOME it does nothing."""

    def __init__(self, folder: str | None = None) -> None:
        """Takes the folder of the records; None: that of the home that DAGSTER_HOME is in."""
        super().__init__()
        self._folder = Path(folder) if folder else _folder_of_home()
        self._begun: dict[tuple[str, str], tuple[Usage, StepCost]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Measures a step by a Dagster event; an error here must not fail the step."""
        meta: dict[str, Any] = getattr(record, "dagster_meta", {})
        event: dg.DagsterEvent | None = meta.get("dagster_event")
        run_id = meta.get("run_id")
        if event is None or run_id is None or event.step_key is None or self._folder is None:
            return
        try:
            self._measure(event, str(run_id), event.step_key)
        except (OSError, ValueError, HomeError) as error:
            # In one line: what logging does by default prints a traceback on a full disk.
            logger.warning("what %s has used is not recorded: %s", event.step_key, error)

    def _measure(self, event: dg.DagsterEvent, run_id: str, step: str) -> None:
        key, kind = (run_id, step), event.event_type_value
        if kind == "STEP_START":
            reset_peak()
            self._begun[key] = Usage.read(), StepCost(run_id, step)
        elif kind == "ASSET_MATERIALIZATION" and key in self._begun:
            _add_asset(self._begun[key][1], event)
        elif kind in _ENDS and key in self._begun:
            begin, cost = self._begun.pop(key)
            end = Usage.read()
            cost.seconds = end.seconds - begin.seconds
            cost.cpu_seconds = end.cpu_seconds - begin.cpu_seconds
            cost.peak_mib = peak_mib()
            cost.bytes_read = end.bytes_read - begin.bytes_read
            cost.bytes_written = end.bytes_written - begin.bytes_written
            self._add_traffic(cost)
            self._append(cost)

    def _add_traffic(self, cost: StepCost) -> None:
        """Adds what the process has asked the home's bucket for since the step before ended."""
        assert self._folder is not None
        if (bucket := bucket_of(self._folder.parent)) is not None:
            cost.requests, cost.bytes_sent, cost.bytes_received = bucket.objects.traffic.take()

    def _append(self, cost: StepCost) -> None:
        assert self._folder is not None
        self._folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps(asdict(cost)) + "\n"
        bucket = bucket_of(self._folder.parent)
        # Of a bucket, steps of one run on several machines write no file together.
        writer = f"{WRITER}{socket.gethostname()}-{os.getpid()}" if bucket else ""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        handle = os.open(self._folder / f"{cost.run_id}{writer}.jsonl", flags, 0o600)
        try:
            # One write, so that lines of several processes do not mix.
            os.write(handle, line.encode())
        finally:
            os.close(handle)
        if bucket:
            bucket.push(self._folder)


def _folder_of_home() -> Path | None:
    dagster_home = os.environ.get("DAGSTER_HOME")
    return Path(dagster_home).parent / FOLDER if dagster_home else None


def _add_asset(cost: StepCost, event: dg.DagsterEvent) -> None:
    materialization = event.step_materialization_data.materialization
    values = {name: value.value for name, value in materialization.metadata.items()}
    asset = ".".join(materialization.asset_key.path)
    rows = values.get(ROW_COUNT)
    partitions = cost.assets.setdefault(asset, {})
    partitions[materialization.partition or ""] = rows if isinstance(rows, int) else 0
    device = values.get(DEVICE)
    if isinstance(device, str):
        cost.device = device
