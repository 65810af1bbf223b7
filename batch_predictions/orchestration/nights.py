"""The runs of a night: what schedules and sensors start to predict a day, known by their tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from batch_predictions.operations.records import AUTOMATION, AUTOMATION_TAG
from batch_predictions.orchestration.job_runner import PARTITION, RANGE_END, RANGE_START
from batch_predictions.orchestration.jobs import JobSpec

DAY_TAG = "batch_predictions/night"
ID_TAG = "batch_predictions/night_id"
WHY_TAG = "batch_predictions/why"
UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
MAX_RUNS_OF_A_NIGHT = 100


@dataclass(frozen=True)
class PlannedRun:
    """A run of a job that is due: its partitions, its assets, and the reason.

    Attributes:
        partitions: all from the first to the last of these are made.
        assets: of the job; None: all.
        why: what it is due for, for people; empty: its partitions are missing or not current.
    """

    partitions: list[str]
    assets: list[dg.AssetKey] | None = None
    why: str = ""


@dataclass(frozen=True)
class Night:
    """Runs that together do what is due up to a day.

    Attributes:
        day: the day to predict, an ISO date.
        id: differs between nights, also between those of one day.
    """

    day: str
    id: str

    @classmethod
    def of_run(cls, run: dg.DagsterRun) -> Night:
        """The night that a run is part of."""
        return cls(run.tags[DAY_TAG], run.tags[ID_TAG])

    def request(self, job: JobSpec, run: PlannedRun, asked_by: str) -> dg.RunRequest:
        """Builds the request to Dagster for a run of the night.

        Args:
            job: what it executes.
            run: what it makes.
            asked_by: what asks for it: it asks once for each run.
        """
        first, last = min(run.partitions), max(run.partitions)
        tags = {AUTOMATION_TAG: AUTOMATION, DAY_TAG: self.day, ID_TAG: self.id}
        if run.why:
            tags[WHY_TAG] = run.why
        if first != last:
            tags |= {RANGE_START: first, RANGE_END: last}
        return dg.RunRequest(
            run_key=f"{asked_by}: {job.name} {first}",
            # A schedule starts one job, and takes no name of it.
            job_name=job.name,
            partition_key=first if first == last else None,
            tags=tags,
            asset_selection=run.assets,
        )


def runs_of_newest_night(instance: dg.DagsterInstance) -> list[dg.RunRecord]:
    """The runs of the night that ran last, newest first; empty before the first night."""
    chosen = RunsFilter(tags={AUTOMATION_TAG: AUTOMATION})
    newest = list(instance.get_run_records(chosen, limit=1))
    if not newest:
        return []
    of_night = RunsFilter(tags={ID_TAG: newest[0].dagster_run.tags[ID_TAG]})
    return list(instance.get_run_records(of_night, limit=MAX_RUNS_OF_A_NIGHT))


def describe_unfinished(instance: dg.DagsterInstance, jobs: Sequence[JobSpec] = ()) -> str | None:
    """Describes a run of a night that has not ended; None: there is none.

    Args:
        instance: of the home.
        jobs: runs of these count too where they are of no night, such as those of a backfill.
    """
    names = {job.name for job in jobs}
    for run in instance.get_runs(RunsFilter(statuses=UNFINISHED)):
        if AUTOMATION_TAG in run.tags or run.job_name in names:
            return f"{run.job_name} of {partitions_of(run)}, run {run.run_id}"
    return None


def partitions_of(run: dg.DagsterRun) -> str:
    """The partition of a run, or the first and last of a range."""
    return run.tags.get(PARTITION) or _range_of(run.tags) or "no partition"


def failed_runs(records: Sequence[dg.RunRecord], job: JobSpec | None = None) -> list[dg.DagsterRun]:
    """Finds runs of a night that failed or were ended by a person, and were not run again.

    Args:
        records: the runs of the night, newest first.
        job: of this job only; None: of all.
    """
    newest: dict[tuple[str, str], dg.DagsterRun] = {}
    for record in records:
        run = record.dagster_run
        newest.setdefault((run.job_name, partitions_of(run)), run)
    bad = (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
    return [
        run
        for run in newest.values()
        if run.status in bad and (job is None or run.job_name == job.name)
    ]


def describe_requests(requests: Sequence[dg.RunRequest]) -> str:
    """The jobs that are asked for, their partitions, and why."""
    asked = []
    for request in requests:
        partitions = request.partition_key or _range_of(request.tags)
        why = f" ({request.tags[WHY_TAG]})" if WHY_TAG in request.tags else ""
        asked.append(f"{request.job_name} of {partitions}{why}")
    return f"asks for {', '.join(asked)}"


def _range_of(tags: Mapping[str, str]) -> str:
    return f"{tags[RANGE_START]} to {tags[RANGE_END]}" if RANGE_START in tags else ""
