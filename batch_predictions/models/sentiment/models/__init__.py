"""The sentiment models, a file each, behind one contract: log-scores of reviews by class."""
