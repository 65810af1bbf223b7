"""Small functions of Dagster's that have no public name; each says what is lost without it."""

from __future__ import annotations

from contextlib import AbstractContextManager

from dagster._utils.interrupts import capture_interrupts as _capture_interrupts
from dagster._utils.schedules import reverse_cron_string_iterator


def capture_interrupts() -> AbstractContextManager[None]:
    """Lets signals stop a run in order.

    Without it the record of a run that a signal meets before its first step is never ended.
    """
    return _capture_interrupts()


def last_tick(now: float, cron: str, timezone: str) -> float:
    """The newest time at which a cron schedule was due.

    Without it, what a schedule would begin anyway is begun by the sensor of new files, too.

    Args:
        now: seconds since the epoch.
        cron: five fields.
        timezone: an IANA name.
    """
    return next(reverse_cron_string_iterator(now, cron, timezone)).timestamp()
