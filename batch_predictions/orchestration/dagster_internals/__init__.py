"""What needs Dagster's private modules; without it the platform runs on Dagster's own parts."""
