"""`batch-predictions`: the platform from a shell, for cron and for trying it out.

Results go to the standard output, progress and errors to the standard error. Heavy modules are
imported by the commands that need them, so that a lookup starts at once.
"""

from batch_predictions.cli.app import app, main

__all__ = ["app", "main"]
