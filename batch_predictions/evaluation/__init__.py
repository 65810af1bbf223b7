"""What came of predictions: measured when the days that they were about have passed."""
