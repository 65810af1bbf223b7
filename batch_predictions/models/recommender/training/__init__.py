"""How a two-stage recommender is trained: label windows, datasets, trainer, tuning."""
