"""Answers from the current release: `Lookup` and one module per kind of answer."""

from batch_predictions.serving.lookup.lookup import Lookup, NoReleaseError, NotPublishedError

__all__ = ["Lookup", "NoReleaseError", "NotPublishedError"]
