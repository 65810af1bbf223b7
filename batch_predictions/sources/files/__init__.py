"""Reads the files of a source.

It knows which belong to a table (`patterns`), their formats, what has changed since the last
ingest (`file_index`), queries over them, and objects of a bucket. Adapters subclass `FileSource`.
"""
