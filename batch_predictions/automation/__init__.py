"""When things happen: jobs, their schedules, and the sensor for new sign-ups."""
