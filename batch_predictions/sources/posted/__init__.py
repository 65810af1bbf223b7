"""Reads what applications post to the HTTP service as rows of raw tables: sign-ups, feedback."""
