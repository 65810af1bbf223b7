"""Rows that applications post to the HTTP service: their tables, and how the ingest reads them."""
