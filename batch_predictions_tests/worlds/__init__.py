"""Small worlds with known answers, and fixtures that several test modules share."""
