"""`batch-predictions`: the platform from a shell, for cron and for trying it out.

Results go to the standard output, progress and errors to the standard error. A command is a
function declared in `commands`; heavy modules are imported by the commands that need them, so that
a lookup starts quickly.
"""

from __future__ import annotations

import sys

from batch_predictions.core.interruption import GOES_ON, handle_signals, ignore_signals, stop_signal


def main() -> None:
    """Runs a command; an error is one line on the standard error; see `cli.errors`.

    SIGINT and SIGTERM stop the command, and say so in one line.
    """
    handle_signals()
    try:
        # Imported here, so that a signal stops its imports, too.
        from batch_predictions.cli.command_line import run_command

        run_command(sys.argv[1:])
    except BaseException as error:
        ignore_signals()
        number = stop_signal()
        if number is None or (isinstance(error, SystemExit) and not error.code):
            raise
        print(f"batch-predictions: stopped by {number.name}; {GOES_ON}", file=sys.stderr)
        sys.exit(128 + number)
