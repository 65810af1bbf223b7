"""The steps at the end of a run or a night, which undo nothing that was predicted and released.

Retention, costs, sinks, the report and alerts. A step that fails is one of the failures of the run,
whose exit code says so; the next run tries it again, even if nothing else is new.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping

from batch_predictions.core.redaction import redact
from batch_predictions.operations.alert_state import UNSENT, read_alert_state
from batch_predictions.operations.due_report import due_report
from batch_predictions.operations.records import RunRecords
from batch_predictions.planning.unchanged import read_failures, record_failures
from batch_predictions.settings import Settings

RETENTION, COSTS, DAMAGE, REPORT = "retention", "costs", "damage", "report"
"""Names of the steps among the failures of a run; those of sinks have their locations."""


def finish_run(
    settings: Settings,
    records: RunRecords,
    log: Callable[[str], None],
    steps: Mapping[str, Collection[str]] | None = None,
) -> dict[str, str]:
    """Removes what is not kept, collects costs, and verifies the files whose turn it is.

    Args:
        settings: of the home, whose lock the caller holds.
        records: Dagster's, of the home.
        log: takes a line of text.
        steps: by run, the steps whose costs must be recorded.

    Returns:
        Why a step failed, by its name.
    """
    # Not above: a run with nothing to do needs none of it.
    from batch_predictions.operations.costs.collect import collect_costs
    from batch_predictions.operations.retention.prune import prune_and_log

    return _failures(
        {
            RETENTION: lambda: prune_and_log(settings, records, log),
            COSTS: lambda: collect_costs(settings, records.last_partition, steps),
            DAMAGE: lambda: _move_damaged_aside(settings),
        }
    )


def _move_damaged_aside(settings: Settings) -> None:
    """Moves the damaged ones among the files whose turn it is aside.

    Raises:
        DamagedPartitionError: there are some.
    """
    from batch_predictions.planning.repair import move_damaged_aside
    from batch_predictions.warehouse.digests import DamagedPartitionError

    limit = settings.checks.verify_mb
    damaged = move_damaged_aside(settings, sys.maxsize if limit is None else int(limit * 2**20))
    if damaged:
        raise DamagedPartitionError(
            f"{'; '.join(map(str, damaged[:3]))}{' …' if len(damaged) > 3 else ''} ({len(damaged)} "
            f"in all): moved to {settings.home}/damaged; the next run makes them again"
        )


def notify(settings: Settings, records: RunRecords) -> dict[str, str]:
    """Sends the report that is due, then the alerts; returns why a step failed, by its name."""
    from batch_predictions.operations.alerts import send_alerts
    from batch_predictions.operations.report.sending import send_due_report

    return _failures(
        {
            REPORT: lambda: send_due_report(settings, records),
            UNSENT: lambda: send_alerts(settings, records),
        }
    )


def retry_failed_steps(
    settings: Settings,
    records: Callable[[], RunRecords],
    log: Callable[[str], None],
    day: str,
    release_id: str | None,
) -> dict[str, str]:
    """Does again what failed at the end of an earlier run; nothing else is new.

    Args:
        settings: of the home, whose lock the caller holds.
        records: opens Dagster's, of the home, which takes a second.
        log: takes a line of text.
        day: last day of the run.
        release_id: the release that is served.

    Returns:
        Why a step failed again, by its name.
    """
    failed: dict[str, str] = {}
    if {RETENTION, COSTS} & read_failures(settings).keys():
        failed = finish_run(settings, records(), log)
        record_failures(settings, day, failed)
    if settings.sinks or settings.serving.release_dir:
        from batch_predictions.serving.sinks.sync import failed_sinks, sync_sinks

        if failed_sinks(settings, release_id):
            sync_sinks(settings)
            failed |= failed_sinks(settings, release_id)
    if due_report(settings) or read_alert_state(settings.home)[1]:
        failed |= notify(settings, records())
    return failed


def _failures(steps: Mapping[str, Callable[[], object]]) -> dict[str, str]:
    """Takes steps one after the other; returns why one failed, in a line, by its name."""
    failed = {}
    for name, step in steps.items():
        try:
            step()
        except Exception as error:
            reason = " ".join(redact(str(error)).split())
            failed[name] = f"{type(error).__name__}: {reason}"
    return failed
