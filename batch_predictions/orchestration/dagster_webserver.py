"""Starts Dagster's web server behind the gate; a module to be run.

It takes the options of `dagster-webserver`, and --allow-host NAME.
"""

from __future__ import annotations

import sys
from typing import Any

from batch_predictions.orchestration.pages_gate import PagesGate

ALLOW_HOST = "--allow-host"


def main() -> None:
    """Starts Dagster's web server with its app behind the gate."""
    import dagster_webserver.cli

    cli: Any = dagster_webserver.cli
    hosts = _take_hosts(sys.argv)
    create_app = cli.create_app_from_workspace_process_context

    def create_gated_app(*arguments: Any, **options: Any) -> PagesGate:
        return PagesGate(create_app(*arguments, **options), hosts)

    cli.create_app_from_workspace_process_context = create_gated_app
    cli.main()


def _take_hosts(arguments: list[str]) -> list[str]:
    """Takes the values of --allow-host out of the arguments."""
    hosts = []
    while ALLOW_HOST in arguments:
        place = arguments.index(ALLOW_HOST)
        hosts.append(arguments[place + 1])
        del arguments[place : place + 2]
    return hosts


if __name__ == "__main__":
    main()
