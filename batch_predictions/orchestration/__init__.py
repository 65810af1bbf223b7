"""All that is Dagster's: jobs, schedules, sensors, executors, the instance, and running them."""
