"""Reads files: which belong to a table (`patterns`), their formats, what has changed since the last
ingest (`index`), queries over them, and objects of a bucket. Adapters subclass `FileSource`."""
