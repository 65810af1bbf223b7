"""Releases of predictions, the store that holds them, and lookups in it.

`store`, `lookup` and `sign_ups` are what an application imports: SQLAlchemy and the standard
library, nothing of the warehouse. `releases` copies days of the warehouse into the store.
"""
