"""What forecasters learn from: the panel of series, the calendar and features."""
