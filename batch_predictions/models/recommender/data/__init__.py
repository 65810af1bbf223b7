"""Training data of the recommender: interactions, users' histories, item features, hold-outs."""
