"""Source adapters, one per file: subclasses of `Source`, found by their `kind`."""
