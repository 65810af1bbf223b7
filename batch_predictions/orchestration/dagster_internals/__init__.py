"""Modules that need Dagster's private ones, each with what is lost without it.

With a Dagster whose private modules are not known, none of this is imported: the platform runs on
Dagster's own parts and says so once. Rows, models and releases are the same.
"""

from __future__ import annotations

import logging
import os
from functools import cache

KNOWN_VERSIONS = ("1.13.",)
"""Versions of Dagster with which these modules were tested."""
VARIABLE = "BATCH_PREDICTIONS_TEST_WITHOUT_DAGSTER_INTERNALS"
"""If it is set, as by tests, no private module of Dagster is used."""
LOST = (
    "a first ingest takes longer, status has no results of checks, old runs stay in Dagster's "
    "records, runs of the UI do not wait for commands that need the home alone, and new files may "
    "begin a night before its time of day"
)

_log = logging.getLogger(__name__)


@cache
def are_known() -> bool:
    """Returns whether the private modules of the installed Dagster are known, and may be used."""
    from dagster import __version__

    if os.environ.get(VARIABLE):
        return False
    if __version__.startswith(KNOWN_VERSIONS):
        return True
    _log.warning(
        "dagster %s is newer than what this release knows: its own parts are used, so that %s",
        __version__,
        LOST,
    )
    return False
