"""`batch-predictions`: the platform from a shell, for cron and for trying it out.

Results go to the standard output, progress and errors to the standard error. A command is a
function declared in `commands`; heavy modules are imported by the commands that need them, so that
a lookup starts quickly.
"""

from batch_predictions.cli.app import main, make_app

__all__ = ["main", "make_app"]
