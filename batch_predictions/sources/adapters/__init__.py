"""One file per kind of source: a subclass of `Source`, found by its `kind`."""
