"""Validation of rows: column mapping, types and ranges of columns, timestamps, repeated keys."""
