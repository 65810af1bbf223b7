"""Schedules and sensors that failed are read from Dagster's ticks."""

from __future__ import annotations

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    TickData,
    TickStatus,
)
from dagster_shared.error import SerializableErrorInfo

from batch_predictions.operations.records import FailedTick
from batch_predictions.orchestration.run_history import failed_ticks

CAUSE = SerializableErrorInfo(
    "dagster.SomeError: postgresql://user:a-password@host\nis away\n", [], "SomeError"
)
ERROR = SerializableErrorInfo("Error occurred during the evaluation\n", [], "Outer", CAUSE)


def add_tick(
    instance: dg.DagsterInstance, state: InstigatorState, status: TickStatus, at: float
) -> None:
    tick = TickData(
        state.instigator_origin_id,
        state.instigator_name,
        InstigatorType.SENSOR,
        status,
        at,
        error=ERROR if status == TickStatus.FAILURE else None,
        selector_id=state.selector_id,
    )
    instance.create_tick(tick)


def test_the_newest_tick_counts_and_its_error_has_no_secret(instance: dg.DagsterInstance) -> None:
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("home"), "__repository__")
    states = {}
    for name in ("run_costs", "freshness", "removed_long_ago"):
        origin = RemoteInstigatorOrigin(repository, name)
        states[name] = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING)
        instance.add_instigator_state(states[name])
    assert failed_ticks(instance, since=100.0) == []
    add_tick(instance, states["run_costs"], TickStatus.FAILURE, 110.0)
    add_tick(instance, states["freshness"], TickStatus.FAILURE, 110.0)
    add_tick(instance, states["freshness"], TickStatus.SKIPPED, 120.0)
    add_tick(instance, states["removed_long_ago"], TickStatus.FAILURE, 90.0)
    [tick] = failed_ticks(instance, since=100.0)
    assert tick == FailedTick("run_costs", "SomeError: postgresql://user:***@host is away")
