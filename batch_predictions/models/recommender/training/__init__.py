"""Training of two-stage recommenders: label windows, datasets, trainer, search."""
