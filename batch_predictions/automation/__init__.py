"""Jobs and their schedules, the sensor for sign-ups, and `batch-predictions run` without the UI."""
