"""The SQL of features, and the functions that read it."""
