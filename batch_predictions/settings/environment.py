"""Variables of the environment that have settings, and those that go to other machines."""

from __future__ import annotations

import os

from batch_predictions.core.redaction import ALERT_URLS, KEY_LIST, REPORT_URLS, has_secret
from batch_predictions.settings.section import SettingsError

PREFIX = "BATCH_PREDICTIONS_"
WITHHELD = f"{PREFIX}WITHHELD_VARIABLES"
"""Names of the variables that a process on another node must have of its own."""


def shareable_variables() -> dict[str, str]:
    """The settings variables of this process that may be passed on to other nodes.

    Ray shows and logs the variables of a job. Those with a password or key are withheld, and named
    in WITHHELD: `require_withheld` checks that the other node has them. API keys of the HTTP
    service and addresses of alerts, which no job needs, are left out.
    """
    variables = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(PREFIX)
        and name not in (WITHHELD, ALERT_URLS, REPORT_URLS)
        and not KEY_LIST.search(name)
    }
    withheld = sorted(name for name, value in variables.items() if has_secret(value))
    shareable = {name: value for name, value in variables.items() if name not in withheld}
    return {**shareable, WITHHELD: ",".join(withheld)} if withheld else shareable


def require_withheld() -> None:
    """Checks that this process has the variables that were not passed on to it.

    Raises:
        SettingsError: one is missing; without it, a default would be used silently.
    """
    names = [name for name in os.environ.get(WITHHELD, "").split(",") if name]
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise SettingsError(
            f"variable {', '.join(missing)} is not set on this node: it has a password, which is "
            "not passed on through Ray; set it in the environment of Ray's processes (`ray start`)"
        )
