"""Databases as a source: connections that see one snapshot, conditions of days, Arrow batches."""
