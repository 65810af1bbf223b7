"""Reads the status of a home: the release, its age, last runs, failed checks, source, disk.

Nothing is changed, and no lock is taken: a monitor may ask at any time.
"""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import asdict, dataclass, field

from batch_predictions.core.home import State, read_state
from batch_predictions.core.home_bucket import location_of
from batch_predictions.inference.scorer_code import edited_scorers
from batch_predictions.models.model_store import ModelStore
from batch_predictions.operations.alert_state import (
    UNSENT,
    StatusProblem,
    describe_unsent,
    read_alert_state,
)
from batch_predictions.operations.due_report import describe_due_report, due_report
from batch_predictions.operations.machine import disk_of, file_sizes
from batch_predictions.operations.records import (
    DEAD,
    CheckState,
    RunRecords,
    RunState,
    run_in_the_future,
)
from batch_predictions.operations.refused_models import refused_models
from batch_predictions.planning.unchanged import read_failures
from batch_predictions.serving.release.served import served_since
from batch_predictions.serving.sinks.sync import outdated_sinks
from batch_predictions.serving.store.snapshot import ReadStore
from batch_predictions.serving.store.store import store_url
from batch_predictions.settings import Settings
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.shrinkage import read_kept_rows
from batch_predictions.sources.source_registry import current_date, current_time, source_of
from batch_predictions.tables import DRIFT, TABLES, Table
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.partition_profiles import read_profile
from batch_predictions.warehouse.usual_days import compare_day

GAP_DAYS = 8
"""Newest days of raw tables among which a day without rows is reported."""


@dataclass
class Status:
    """The release that a home serves, its last runs, checks, disk, and problems.

    Attributes:
        home: the home folder.
        source: kind of the source.
        today: the current date in the source's time zone.
        source_day: newest complete day of the source; None: it cannot be read.
        release_id: what is served; None: nothing yet.
        as_of: day of the release.
        served_since: when it was served first, or again, UTC, to the second.
        age_days: days since `as_of`.
        earlier_days: tables of the release that are of an earlier day, with the day.
        rows: rows of the release by table.
        next_day: the next day to predict; None: it is not known.
        is_due: whether that day is over.
        runs: the newest run of each job.
        checks: newest results of checks that did not pass.
        checks_passed: number of those that passed.
        models: version that serves, by model.
        home_bytes: size by folder of the home.
        kept: days whose rows the source no longer has, and undone ingests.
        free_bytes: free space on its disk.
        problems: what needs somebody's attention.
    """

    home: str
    source: str
    today: str
    source_day: str | None = None
    release_id: str | None = None
    as_of: str | None = None
    served_since: str | None = None
    age_days: int | None = None
    earlier_days: dict[str, str] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    next_day: str | None = None
    is_due: bool = False
    runs: list[RunState] = field(default_factory=list)
    checks: list[CheckState] = field(default_factory=list)
    checks_passed: int = 0
    models: dict[str, str] = field(default_factory=dict)
    home_bytes: dict[str, int] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    free_bytes: int = 0
    problems: list[StatusProblem] = field(default_factory=list)

    def add_problem(self, condition: str, message: str) -> None:
        """Adds a condition that needs somebody's attention."""
        self.problems.append(StatusProblem(condition, message))

    def as_dict(self) -> dict[str, object]:
        """Returns the status as a dictionary of JSON values."""
        return asdict(self)


def read_status(
    settings: Settings,
    records: RunRecords,
    max_age_days: int | None = None,
    today: dt.date | None = None,
) -> Status:
    """The status of a home.

    Args:
        settings: of the home.
        records: Dagster's, of the home.
        max_age_days: a release, or a source, whose newest day is older is a problem; None:
            `alerts.max_age_days`.
        today: the current date; None: by the clock, in the source's time zone.
    """
    state = read_state(settings.home)
    timezone = state.timezone if state else "UTC"
    today = today or current_date(timezone)
    max_age_days = max_age_days or settings.alerts.max_age_days
    status = Status(location_of(settings.home), settings.source.kind, today.isoformat())
    _add_disk(status, settings)
    if state is None:
        status.add_problem(
            "no_run",
            f"{location_of(settings.home)} has no run yet: `batch-predictions run` makes the first",
        )
        return status
    _add_release(status, settings, today, max_age_days)
    _add_source(status, settings, state, today, max_age_days)
    _add_next_day(status, state, today)
    _add_unusual_days(status, settings)
    _add_drift(status, settings)
    models = ModelStore.of(settings)
    versions = {name: models.version_of(name, today) for name in models.models()}
    status.models = {name: version for name, version in versions.items() if version}
    for name, message in refused_models(models, today).items():
        status.add_problem(f"refused_model:{name}", message)
    for name, message in edited_scorers(settings).items():
        status.add_problem(f"edited:{name}", message)
    for name, message in read_failures(settings).items():
        status.add_problem(f"failed:{name}", f"{name} of {message}")
    if (day := due_report(settings)) is not None:
        message = describe_due_report(day, "the next run, or `batch-predictions watch`, sends it")
        status.add_problem("report", message)
    _, unsent = read_alert_state(settings.home)
    if unsent:
        status.add_problem(UNSENT, describe_unsent(unsent))
    _add_runs(status, records)
    return status


def _add_disk(status: Status, settings: Settings) -> None:
    """Adds the sizes of the home's folders, and the free space of its disk."""
    home = settings.home
    if home.exists():
        for entry in sorted(os.scandir(home), key=lambda entry: entry.name):
            is_folder = entry.is_dir(follow_symlinks=False)
            size = sum(file_sizes(entry.path)) if is_folder else entry.stat().st_size
            status.home_bytes[entry.name] = size
    status.free_bytes = disk_of(home).free
    if status.free_bytes < settings.alerts.min_free_gb * 2**30:
        status.add_problem(
            "disk",
            f"the disk of {home} has {status.free_bytes / 2**20:,.0f} MiB left: free space, or "
            "keep less (settings retention.*, serving.keep_releases)",
        )


def _add_release(status: Status, settings: Settings, today: dt.date, max_age_days: int) -> None:
    with ReadStore(store_url(settings)) as store:
        releases = store.releases()
    release = next((release for release in releases if release.current), None)
    since = served_since(releases)
    if release is None or since is None:
        status.add_problem(
            "no_release", "nothing is served: `batch-predictions run` publishes a release"
        )
        return
    status.release_id, status.as_of = release.release_id, release.as_of.isoformat()
    status.served_since = since.isoformat(timespec="seconds")
    status.age_days = (today - release.as_of).days
    status.earlier_days, status.rows = release.earlier_days, release.rows
    if status.age_days > max_age_days:
        status.add_problem(
            "release_age",
            f"applications see predictions as of {release.as_of}, {status.age_days} days ago (at "
            f"most {max_age_days}: alerts.max_age_days): see the runs, or `batch-predictions run`",
        )
    for location, message in outdated_sinks(settings, release.release_id).items():
        status.add_problem(
            f"sink:{location}", f"{message}: `batch-predictions releases sync` writes it again"
        )
    for name, day in status.earlier_days.items():
        status.add_problem(
            f"earlier_day:{name}",
            f"{name} is of {day}, since it could not be made for {release.as_of}: "
            "`batch-predictions run` makes it again and names the cause",
        )


def _add_source(
    status: Status, settings: Settings, state: State, today: dt.date, max_age_days: int
) -> None:
    try:
        newest = source_of(settings, state).newest_complete_day(today)
    except SourceError as error:
        status.add_problem("source", f"the source cannot be read: {error}")
        return
    status.source_day = newest.isoformat()
    silent_days = (today - newest).days
    if silent_days > max_age_days:
        status.add_problem(
            "source_age",
            f"the source's newest day is {newest}, {silent_days} days ago: check what fills it",
        )
    kept = read_kept_rows(settings.home)
    for name, message in kept.lost.items():
        status.add_problem(f"lost_rows:{name}", message)
    status.kept = kept.notes


def _add_unusual_days(status: Status, settings: Settings) -> None:
    """Adds a problem for each table whose newest day or week is unusual."""
    warehouse = Warehouse.of(settings)
    for table in TABLES.values():
        is_compared = table.is_periodic and table.schema in ("raw", "predictions")
        keys = warehouse.partitions(table) if is_compared else []
        if not keys:
            continue
        comparison = compare_day(warehouse, table, as_date(keys[-1]), settings.checks)
        if comparison is not None and not comparison.is_usual:
            status.add_problem(
                f"unusual:{table.qualified}", f"{table.qualified} of {keys[-1]}: {comparison}"
            )
        if table.schema == "raw":
            _add_missing_days(status, warehouse, table, keys[-GAP_DAYS:-1], settings)


def _add_missing_days(
    status: Status, warehouse: Warehouse, table: Table, keys: list[str], settings: Settings
) -> None:
    """Adds a problem for each earlier day without rows where its weekday usually has some.

    A day that is late is no newest day any more when the next one has arrived.
    """
    for key in keys:
        profile = read_profile(warehouse.path(table, key), table)
        is_empty = profile is not None and not profile.rows
        comparison = is_empty and compare_day(warehouse, table, as_date(key), settings.checks)
        if comparison:
            status.add_problem(
                f"missing:{table.qualified}:{key}",
                f"{table.qualified} of {key} has no rows, where {comparison.lower:,.0f} to "
                f"{comparison.upper:,.0f} are usual: the next run reads them when they arrive",
            )


def _add_drift(status: Status, settings: Settings) -> None:
    """Adds a problem for each predicted column that drifted from the newest training."""
    limit, warehouse = settings.alerts.max_psi, Warehouse.of(settings)
    days = warehouse.partitions(DRIFT) if limit is not None else []
    if not days:
        return
    rows = warehouse.query(
        f"""select table_name, column_name, value, reference, n from {DRIFT.qualified}
        where date = $day::DATE and statistic = 'psi' and value > $limit
            and table_name like 'predictions.%' order by value desc, 1, 2""",
        {"day": days[-1], "limit": limit},
    ).to_pylist()
    for row in rows:
        name = f"{row['table_name']}.{row['column_name']}"
        status.add_problem(
            f"drift:{name}",
            f"{name} of {days[-1]} differs from that of {row['reference']}: PSI {row['value']:.2f} "
            f"on {row['n']:,} rows (at most {limit:g}: alerts.max_psi); see evaluation.drift",
        )


def _add_next_day(status: Status, state: State, today: dt.date) -> None:
    """Sets the next day to predict, and whether it is over."""
    if status.as_of is not None:
        day = dt.date.fromisoformat(status.as_of) + dt.timedelta(days=1)
    elif status.source_day is not None:
        day = dt.date.fromisoformat(status.source_day)
    else:
        return
    if state.last_day is None or day <= state.last_day:
        status.next_day, status.is_due = day.isoformat(), day < today


def _add_runs(status: Status, records: RunRecords) -> None:
    """Adds the newest run of each job, and checks of newest partitions that did not pass."""
    status.runs = records.last_runs()
    if late := run_in_the_future(status.runs, current_time("UTC")):
        status.add_problem("clock", late)
    for run in status.runs:
        if run.status == "FAILURE":
            status.add_problem(
                f"run:{run.job}",
                f"the newest run of {run.job} failed ({run.partition}): {run.reason}",
            )
        elif run.status == DEAD:
            status.add_problem(
                f"run:{run.job}",
                f"the process of {run.job} died ({run.partition}): the next run, or the sensor "
                "dead_runs, marks it as failed, and what it had finished is kept",
            )
    for tick in records.failed_ticks():
        status.add_problem(
            f"tick:{tick.name}", f"{tick.name} of Dagster's daemon failed: {tick.reason}"
        )
    checks = records.last_checks()
    status.checks = [check for check in checks if not check.passed]
    status.checks_passed = len(checks) - len(status.checks)
    for check in status.checks:
        if check.severity == "ERROR":
            status.add_problem(
                f"check:{check.table}:{check.name}",
                f"check {check.name} of {check.table} failed ({check.partition}): "
                f"{check.description}",
            )
