"""The ranker's features of (user, candidate) pairs."""
