"""Releases of predictions, the store that holds them, and lookups in it.

`release` copies a day of the warehouse into the store and moves the pointer to it. Applications
import `store` and `lookup`, which need SQLAlchemy but nothing of the warehouse.
"""
