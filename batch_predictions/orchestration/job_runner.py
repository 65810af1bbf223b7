"""Executes jobs of the platform in this process, recorded in the home's Dagster instance.

Assets that the source has no data for are left out of the jobs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import dagster as dg

from batch_predictions.core import process_records
from batch_predictions.core.home_lock import processes_folder
from batch_predictions.core.interruption import raise_if_stopped
from batch_predictions.operations.records import OWNER_TAG
from batch_predictions.orchestration import dagster_internals
from batch_predictions.orchestration import instance as home_instance
from batch_predictions.orchestration.cost_handler import CostHandler
from batch_predictions.orchestration.dead_runs import owner
from batch_predictions.orchestration.failures import Failure, failures_of
from batch_predictions.orchestration.jobs import JobAssets, JobSpec
from batch_predictions.orchestration.progress import LOGGER, ProgressBar
from batch_predictions.settings import Settings
from batch_predictions.tables import Table
from batch_predictions.warehouse import Warehouse

PARTITION = "dagster/partition"
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
POOL = "gpu"
POLL_SECONDS = 2.0
ONE_PLANNED_EVENT = "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS"
"""Dagster's variable that lets a run announce the partitions of an asset in one event."""


class RunError(RuntimeError):
    """A job of a run failed; the message is its cause."""


class JobRunner(JobAssets):
    """Executes jobs of the platform in this process.

    Args:
        instance: the home's Dagster instance.
        definitions: the platform's.
        missing: raw tables of events that the source lacks.
        settings: of the home.

    Attributes:
        steps: keys of the steps that succeeded, by run, where they are measured.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        definitions: dg.Definitions,
        missing: Sequence[Table],
        settings: Settings,
    ) -> None:
        super().__init__(definitions.resolve_asset_graph(), missing)
        self.instance, self.settings = instance, settings
        self.steps: dict[str, set[str]] = {}

    def execute(
        self,
        job: JobSpec,
        partition_keys: Sequence[str],
        progress: ProgressBar,
        groups: Sequence[str] = (),
        only: Collection[dg.AssetKey] | None = None,
    ) -> None:
        """Runs a job, or some of its groups, for one partition or a range of them.

        Args:
            job: the job.
            partition_keys: all partitions from the first to the last of these are materialized.
            progress: the bar to move.
            groups: groups of assets; empty: all of the job.
            only: assets, with those that are made in the same steps; None: all of the groups.

        Raises:
            RunError: a step failed; its first cause is the message.
        """
        failures = self.attempt(job, partition_keys, progress, groups, only)
        if failures:
            raise self.error(job, partition_keys, failures)

    def attempt(
        self,
        job: JobSpec,
        partition_keys: Sequence[str],
        progress: ProgressBar,
        groups: Sequence[str] = (),
        only: Collection[dg.AssetKey] | None = None,
    ) -> list[Failure]:
        """Runs a job like `execute`; after a failed step, goes on with all that does not need it.

        Args:
            job: the job.
            partition_keys: all partitions from the first to the last of these are materialized.
            progress: the bar to move.
            groups: groups of assets; empty: all of the job.
            only: assets, with those that are made in the same steps; None: all of the groups.

        Returns:
            What was not made.

        Raises:
            RunError: the disk is full.
            Stopped: a signal has stopped this process.
        """
        selected = self.keys(job, groups)
        if only is not None:
            together = {key for asset in only for key in self.graph.get(asset).assets_def.keys}
            selected = [key for key in selected if key in together]
        if not selected:
            return []
        self.wait_for_pool(progress)
        first, last = min(partition_keys), max(partition_keys)
        span = {PARTITION: first} if first == last else {RANGE_START: first, RANGE_END: last}
        reconstructable = dg.build_reconstructable_job(
            "batch_predictions.definitions", "job", reconstructable_args=(job.name,)
        )
        with (
            _one_planned_event(first != last),
            _interrupts(),
            dg.execute_job(
                reconstructable,
                instance=self.instance,
                tags={OWNER_TAG: owner(), **span},
                run_config={"loggers": {LOGGER: {}}},
                asset_selection=selected,
                raise_on_error=False,
            ) as result,
        ):
            process_records.unregister(processes_folder(self.settings.home), result.run_id)
            raise_if_stopped()
            failures = self._failures_of(result, selected)
            if not (result.success or failures):
                raise RunError(f"{job.name} failed: see run {result.run_id} in the UI")
        # Steps may have run on other machines.
        Warehouse.of(self.settings).refresh()
        if any(failure.concerns_all for failure in failures):
            raise self.error(job, partition_keys, failures)
        return failures

    def is_measured(self) -> bool:
        """Whether steps write on this machine what they use."""
        if self.settings.execution.executor not in ("in_process", "multiprocess"):
            return False
        return any(isinstance(handler, CostHandler) for handler in self.instance.get_handlers())

    def _failures_of(
        self, result: dg.JobExecutionResult, selected: Sequence[dg.AssetKey]
    ) -> list[Failure]:
        """Notes the steps of a job that succeeded; returns what was not made."""
        events = result.all_events
        if self.is_measured():
            steps = {event.step_key for event in events if event.is_step_success}
            self.steps[result.run_id] = {step for step in steps if step}
        if result.success:
            return []
        return failures_of(events, selected, self.graph, result.run_id)

    @staticmethod
    def error(job: JobSpec, partition_keys: Sequence[str], failures: Sequence[Failure]) -> RunError:
        """The error of a job that failed, with the first cause."""
        days = f"{min(partition_keys)} to {max(partition_keys)}"
        return RunError(f"{job.name} for {days} failed: {failures[0].reason}")

    def wait_for_pool(self, progress: ProgressBar) -> None:
        """Waits until no other run holds the pool `gpu`.

        Raises:
            RunError: it is held for longer than `execution.pool_wait_minutes`, or a pool is closed.
        """
        if closed := home_instance.closed_pools(self.instance):
            raise RunError(
                f"the limit of the pool {' and '.join(closed)} is 0, so that no step of it begins: "
                "set it to 1 or more in Dagster's pages (Deployment, Concurrency)"
            )
        minutes = self.settings.execution.pool_wait_minutes
        deadline = time.monotonic() + 60 * minutes
        logged: set[str] = set()
        while holders := home_instance.slot_holders(self.instance, POOL):
            for holder in sorted({*holders} - logged):
                progress.log(f"waiting for the pool {POOL}, held by {holder}")
            logged.update(holders)
            if time.monotonic() >= deadline:
                raise RunError(
                    f"the pool {POOL} is held by {' and '.join(holders)} for more than "
                    f"{minutes:g} minutes (execution.pool_wait_minutes): if its "
                    "process is dead, end it with `batch-predictions run --end-stuck-runs`, "
                    "otherwise wait until it ends"
                )
            time.sleep(POLL_SECONDS)


def _interrupts() -> AbstractContextManager[None]:
    """Lets a signal end a run in order, also before its first step."""
    if not dagster_internals.are_known():
        return nullcontext()
    from batch_predictions.orchestration.dagster_internals.dagster_utilities import (
        capture_interrupts,
    )

    return capture_interrupts()


@contextmanager
def _one_planned_event(is_range: bool) -> Iterator[None]:
    """Lets the run of a range announce each asset once, not once for every partition.

    Partitions of a failed run of one day are shown as failed, those of a range are not.
    """
    before = os.environ.get(ONE_PLANNED_EVENT)
    if is_range:
        os.environ[ONE_PLANNED_EVENT] = "true"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(ONE_PLANNED_EVENT, None)
        else:
            os.environ[ONE_PLANNED_EVENT] = before
