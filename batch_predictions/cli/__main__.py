"""Runs the command line as `python -m batch_predictions.cli`."""

from batch_predictions.cli import main

main()
