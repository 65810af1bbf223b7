"""The groups of commands, in the order of the help."""

from __future__ import annotations

from batch_predictions.cli.console.command import CommandGroup

GROUPS = (
    CommandGroup("lookup", "Look predictions up in the current release.", order=10),
    CommandGroup("releases", "Releases: what applications see.", order=20),
    CommandGroup("models", "Trained models and their metrics.", order=30),
    CommandGroup(
        "audiences",
        "Audiences: add a campaign, export an audience, record who was listed.",
        order=40,
    ),
    CommandGroup("new", "Write the modules of a prediction of your own, with a test.", order=50),
    CommandGroup(
        "benchmark",
        "Measure this machine: the engine and its peers, interleaved, as ratios.",
        order=60,
    ),
)
