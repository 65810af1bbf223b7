"""Sinks: databases and buckets of other teams that get the release that is served."""
