"""Backups of a home: `pool` keeps the bytes of files once, `create` and `restore` use it."""
