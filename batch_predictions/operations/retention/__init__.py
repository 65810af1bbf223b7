"""What is removed when it is older than the settings keep."""
