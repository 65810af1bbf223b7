"""Releases as files: one immutable SQLite file and a manifest each, for serving machines."""
