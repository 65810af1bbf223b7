"""Raw data: adapters of sources, validation of their rows, and the ingest into raw tables."""
