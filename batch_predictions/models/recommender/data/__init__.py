"""What the recommender learns from: interactions, users' histories, item features, hold-outs."""
