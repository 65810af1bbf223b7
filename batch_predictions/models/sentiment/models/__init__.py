"""Sentiment models, one file each, behind one contract: log-scores of documents by class.

A file declares its models as `SentimentModelSpec`s; `base` finds them.
"""
