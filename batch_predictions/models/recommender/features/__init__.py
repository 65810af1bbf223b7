"""The ranker's features of (user, candidate) pairs, a file for each kind.

`candidate_features` says what a batch and a feature are, `table` puts all declared feature sets
together. A plugin adds features by declaring a `FeatureSet`.
"""
