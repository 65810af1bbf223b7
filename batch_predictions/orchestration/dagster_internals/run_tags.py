"""Tags of runs, by which it is known who started them; those of a person have none of these."""

OWNER_TAG = "batch_predictions/process"
"""Of the runs of commands, with their process."""
AUTOMATION_TAG, AUTOMATION = "batch_predictions/automation", "night"
"""Of all runs of nights; dagster.yaml lets one of them run at a time."""
