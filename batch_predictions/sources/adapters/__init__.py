"""One file per kind of source, found by its `SOURCE`: which tables it has and how they are read."""
