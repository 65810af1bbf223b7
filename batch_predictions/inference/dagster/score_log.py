"""Log lines of the `score` step: its start, its progress and its summary."""

from __future__ import annotations

import time

import dagster as dg

from batch_predictions.inference.pools.engine import ScoreSummary

PROGRESS_SECONDS = 10.0
"""Time between two log lines of progress."""


class ProgressLogger:
    """Logs progress every `PROGRESS_SECONDS`: rows, rows per second, remaining time."""

    def __init__(self, context: dg.AssetExecutionContext, label: str) -> None:
        self.context, self.label = context, label
        self.started = self.last_logged = time.perf_counter()

    def log_start(self, device: str, instances: int, row_count: int) -> None:
        """Logs device and instances, before the first shard is scored."""
        self.context.log.info(
            f"{self.label}: {row_count:,} rows to score by {_format_instances(instances)} "
            f"on {device}"
        )

    def __call__(self, scored_rows: int, row_count: int) -> None:
        """Logs the progress, at most once in `PROGRESS_SECONDS`."""
        now = time.perf_counter()
        if now - self.last_logged < PROGRESS_SECONDS:
            return
        self.last_logged = now
        rate = scored_rows / (now - self.started)
        self.context.log.info(
            f"{self.label}: {scored_rows:,} of {row_count:,} rows, {rate:,.0f} rows/s, "
            f"{(row_count - scored_rows) / rate:,.0f} s left"
        )


def format_summary(summary: ScoreSummary) -> str:
    """Formats rows, speed, device, retries and share of time by stage as a log line."""
    if not summary.scored_rows:
        return f"nothing to score, all {summary.reused_rows:,} rows have results"
    rate = summary.scored_rows / summary.seconds
    shares = ", ".join(f"{stage} {s:.0%}" for stage, s in summary.timings.shares().items())
    return (
        f"{summary.scored_rows:,} rows scored in {summary.seconds:.1f} s ({rate:,.0f} rows/s, "
        f"{_format_instances(summary.instances)} on {summary.device}), "
        f"{summary.reused_rows:,} reused from earlier runs"
        + (f", {summary.retries} shards retried" if summary.retries else "")
        + f"; share of the instances' time: {shares}"
    )


def _format_instances(count: int) -> str:
    return f"{count} instance" + ("s" if count != 1 else "")
