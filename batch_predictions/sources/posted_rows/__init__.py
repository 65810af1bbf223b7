"""Rows that applications post to the HTTP service: how they are written, read and removed."""
