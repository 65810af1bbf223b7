"""An executor that keeps runs of the UI and commands that need the home alone apart.

Without it an erasure, a repair or a pruning may run beside a run of the UI.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any, cast

import dagster as dg
from dagster import Executor
from dagster._core.errors import raise_execution_interrupts
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.execution.step_dependency_config import StepDependencyConfig

from batch_predictions.core import process_records
from batch_predictions.core.home_lock import HomeBusyError, SharedHomeLock, processes_folder
from batch_predictions.core.interruption import stop_signal
from batch_predictions.settings import Settings

POLL_SECONDS = 2.0


def locked(executor: dg.ExecutorDefinition, settings: Settings) -> dg.ExecutorDefinition:
    """An executor whose runs have a record of their process and a share of the home's lock.

    Args:
        executor: what executes the steps.
        settings: of the home.
    """
    create = executor.executor_creation_fn
    assert create is not None

    def create_locked(context: dg.InitExecutorContext) -> Executor:
        return _LockedExecutor(create(context), settings)

    return dg.ExecutorDefinition(
        executor.name,
        # Its declared type lacks the schemas of configured executors, which Dagster accepts.
        config_schema=cast(Any, executor.config_schema),
        requirements=executor.get_requirements,
        executor_creation_fn=create_locked,
        description=executor.description,
    )


class _LockedExecutor(Executor):
    """Executes the steps of a run while it holds a share of the home's lock."""

    def __init__(self, inner: Executor, settings: Settings) -> None:
        self.inner, self.settings = inner, settings

    @property
    def retries(self) -> RetryMode:
        """The retry mode of the wrapped executor."""
        return self.inner.retries

    @property
    def step_dependency_config(self) -> StepDependencyConfig:
        """The step dependency configuration of the wrapped executor."""
        return self.inner.step_dependency_config

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Waits for commands that hold the lock alone, then executes the steps.

        Raises:
            HomeBusyError: one holds it for longer than `execution.pool_wait_minutes`.
        """
        run = plan_context.dagster_run
        # Until the process ends, since the run's last event comes after its last step.
        home = self.settings.home
        process_records.register(
            processes_folder(home), run.run_id, f"{run.job_name} of Dagster, run {run.run_id}"
        )
        with SharedHomeLock(home) as lock, _interruptible_waits():
            self._wait_for(lock, plan_context)
            yield from _stoppable(self.inner.execute(plan_context, execution_plan), plan_context)

    def _wait_for(self, lock: SharedHomeLock, context: PlanOrchestrationContext) -> None:
        minutes = self.settings.execution.pool_wait_minutes
        deadline = monotonic() + 60 * minutes
        logged = None
        while holder := lock.try_acquire():
            if holder != logged:
                context.log.info(f"waiting for {holder}")
                logged = holder
            if monotonic() >= deadline:
                raise HomeBusyError(
                    f"{self.settings.home} is in use by {holder} for more than {minutes:g} minutes "
                    "(execution.pool_wait_minutes): wait until it ends, and start this run again"
                )
            # Lets the UI end a run that waits.
            with raise_execution_interrupts():
                sleep(POLL_SECONDS)


@contextmanager
def _interruptible_waits() -> Iterator[None]:
    """Lets a signal end a run whose steps wait for a slot of a pool.

    Dagster sleeps there with signals held back, between two steps, so that nobody looks at them.
    """
    wait = ActiveExecution.sleep_til_ready

    def wait_interruptibly(execution: ActiveExecution) -> None:
        with raise_execution_interrupts():
            wait(execution)

    ActiveExecution.sleep_til_ready = wait_interruptibly  # type: ignore[assignment]
    try:
        yield
    finally:
        ActiveExecution.sleep_til_ready = wait  # type: ignore[method-assign]


def _stoppable(
    events: Iterator[dg.DagsterEvent], context: PlanOrchestrationContext
) -> Iterator[dg.DagsterEvent]:
    """Passes on a run's events; the run is canceled when this process receives a signal.

    Dagster's own handler stops the steps. It does not learn of a signal that came before this run,
    or of which a library has made another error, so that only the step would fail.
    """
    is_told = False
    for event in events:
        yield event
        if not is_told and stop_signal():
            is_told = True
            context.instance.report_run_canceling(context.dagster_run)
            handler = signal.getsignal(signal.SIGINT)
            assert callable(handler)
            handler(signal.SIGINT, None)
