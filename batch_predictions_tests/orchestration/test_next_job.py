"""What follows a run of a night that has ended, and what ends the night."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from batch_predictions.orchestration import jobs, next_job
from batch_predictions.orchestration.failures import Failure
from batch_predictions.orchestration.nights import Night, PlannedRun
from batch_predictions.orchestration.planner import Planner
from batch_predictions.planning.run_plan import RunPlan
from batch_predictions.settings import Settings
from batch_predictions.tables import CHURN_SCORES
from batch_predictions.tables.partitions import latest_ended_week
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.home import PARTITIONS

DAY, WEEK = "2024-03-10", "2024-03-04"
NIGHT = Night(DAY, "a night")
SUCCESS, FAILURE = DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE
WEEKS = [dg.AssetKey(["predictions", "item_sentiments"])]


@dg.op
def nothing() -> None:
    pass


class Plan(Planner):
    """A plan whose weekly predictions and daily ones are always due."""

    def plan(self, first: object, last: object, *_: object, **__: object) -> RunPlan:
        assert isinstance(last, dt.date)
        return RunPlan(last, last, [latest_ended_week(last)], [], [])

    def due(self, job: jobs.JobSpec, plan: RunPlan) -> list[PlannedRun]:
        due = {
            jobs.WEEKLY_PREDICTIONS: [PlannedRun([WEEK], WEEKS)],
            jobs.NIGHTLY: [PlannedRun([DAY])],
        }
        return due.get(job, [])


class NightOfRuns:
    """Runs of a night in an instance, and the sensor's ticks."""

    def __init__(self, instance: dg.DagsterInstance, settings: Settings) -> None:
        self.instance, self.settings = instance, settings
        self.cursor: str | None = None
        defined = [job.definition(PARTITIONS) for job in (*jobs.SCHEDULED, jobs.RELEASE)]
        self.sensor = next_job.next_job([job for job in defined if job.name != "ingest"])
        empty = dg.Definitions(jobs=[dg.JobDefinition(graph_def=_graph("any"), name="any")])
        self.repository = empty.get_repository_def()

    def add(
        self, job: jobs.JobSpec, status: DagsterRunStatus, *keys: str, parent: str | None = None
    ) -> str:
        """Adds a run with a status."""
        request = NIGHT.request(job, PlannedRun(list(keys) or [DAY]), "a test")
        tags = {**request.tags}
        if request.partition_key:
            tags["dagster/partition"] = request.partition_key
        run = self.instance.create_run_for_job(
            dg.JobDefinition(graph_def=_graph(job.name), name=job.name),
            tags=tags,
            status=status,
            parent_run_id=parent,
            root_run_id=parent,
        )
        return run.run_id

    def tick(self) -> list[str] | str:
        """The jobs that the sensor asks for, or why it asks for none."""
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            repository_def=self.repository,
            resources={"settings": self.settings},
        ) as context:
            data = self.sensor(context)
        if isinstance(data, dg.SkipReason):
            return str(data.skip_message)
        assert isinstance(data, dg.SensorResult)
        self.cursor = data.cursor
        requests = data.run_requests or []
        if not requests:
            assert isinstance(data.skip_reason, dg.SkipReason)
            return str(data.skip_reason.skip_message)
        return [f"{r.job_name} {r.partition_key}" for r in requests]


def _graph(name: str) -> dg.GraphDefinition:
    return dg.GraphDefinition(name=name, node_defs=[nothing])


@pytest.fixture
def night(
    instance: dg.DagsterInstance, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[NightOfRuns]:
    """A night without runs."""
    monkeypatch.setattr(next_job, "Planner", Plan)
    yield NightOfRuns(instance, settings)


def test_a_job_with_nothing_to_do_is_left_out(night: NightOfRuns) -> None:
    assert "no night" in night.tick()
    night.add(jobs.INGEST, SUCCESS, DAY)
    assert night.tick() == [f"weekly_predictions {WEEK}"]
    # Until the run that was asked for has ended.
    assert "no job of a night has ended" in night.tick()
    night.add(jobs.WEEKLY_PREDICTIONS, DagsterRunStatus.NOT_STARTED, WEEK)
    assert "weekly_predictions of 2024-03-04 is under way" in night.tick()


def test_all_ingests_of_a_night_must_have_succeeded(night: NightOfRuns) -> None:
    failed = night.add(jobs.INGEST, FAILURE, "2024-01-01", "2024-01-03")
    running = night.add(jobs.INGEST, DagsterRunStatus.STARTED, DAY)
    assert "under way" in night.tick()
    run = night.instance.get_run_by_id(running)
    assert run is not None
    night.instance.delete_run(running)
    night.add(jobs.INGEST, SUCCESS, DAY)
    assert "ingest of 2024-01-01 to 2024-01-03 failed: the night" in night.tick()
    # A person runs it again in the UI: the night goes on.
    night.add(jobs.INGEST, SUCCESS, "2024-01-01", "2024-01-03", parent=failed)
    assert night.tick() == [f"weekly_predictions {WEEK}"]


@pytest.mark.parametrize("job", [jobs.WEEKLY_TRAINING, jobs.WEEKLY_PREDICTIONS])
def test_where_a_weekly_job_fails_the_night_goes_on(night: NightOfRuns, job: jobs.JobSpec) -> None:
    night.add(job, FAILURE, WEEK)
    following = jobs.SCHEDULED[jobs.SCHEDULED.index(job) + 1]
    assert night.tick() == [f"{following.name} {DAY if following == jobs.NIGHTLY else WEEK}"]


def test_a_run_that_a_person_ended_ends_the_night(night: NightOfRuns) -> None:
    night.add(jobs.WEEKLY_TRAINING, DagsterRunStatus.CANCELED, WEEK)
    assert "ended by a person" in night.tick()


def test_a_full_disk_ends_the_night(night: NightOfRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(next_job, "_is_disk_full", lambda instance, run_id: True)
    night.add(jobs.WEEKLY_TRAINING, FAILURE, WEEK)
    assert "the disk is full" in night.tick()


def test_what_a_failed_nightly_run_has_made_is_released(
    night: NightOfRuns, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.add(jobs.NIGHTLY, FAILURE)
    assert "the release before serves" in night.tick()
    night.cursor = None
    warehouse.replace_partition(
        CHURN_SCORES,
        DAY,
        "select 'u1' as user_id, 0.5 as churn_probability, 3 as days_inactive, "
        "'m' as model_version",
    )
    release = Failure(dg.AssetKey(["serving", "release"]), "it needs churn, which failed", False)
    monkeypatch.setattr(next_job, "failures_of_run", lambda *_: [release])
    assert night.tick() == [f"release {DAY}"]
    night.add(jobs.RELEASE, SUCCESS)
    assert night.tick() == f"the night of {DAY} is over"


def test_an_error_of_the_source_is_tried_again(
    night: NightOfRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.add(jobs.INGEST, SUCCESS)

    def fail(*_: object) -> None:
        raise ValueError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(Plan, "due", fail)
        with pytest.raises(ValueError, match="away"):
            night.tick()
    assert night.tick() == [f"weekly_predictions {WEEK}"]
