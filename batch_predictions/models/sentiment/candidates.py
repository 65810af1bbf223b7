"""The models that are compared, and the default model, by the number of labelled texts.

`sentiment.candidates` and `sentiment.default` replace them; docs/sentiment.md has the figures
behind them.
"""

from __future__ import annotations

LINEAR_CANDIDATES = ("tfidf_lr", "nb_lr", "char_lr", "average_char_lr")
NET_CANDIDATES = ("tfidf_lr", "nb_lr", "cnn", "lstm", "average_cnn")
LINEAR_DEFAULT, NET_DEFAULT = "average_char_lr", "average_cnn"
ENCODER_AVERAGE = "average_encoder"
"""Compared, and the default, on few texts where there is an encoder."""


def candidates_by_size(is_small: bool, has_encoder: bool) -> tuple[str, ...]:
    """Names of the models that are compared.

    Args:
        is_small: whether there are fewer texts than `sentiment.small_reviews`.
        has_encoder: whether `sentiment.encoder` is set.
    """
    if not is_small:
        return NET_CANDIDATES
    return (*LINEAR_CANDIDATES, ENCODER_AVERAGE) if has_encoder else LINEAR_CANDIDATES


def default_by_size(is_small: bool, has_encoder: bool) -> str:
    """Name of the default model; arguments as those of `candidates_by_size`."""
    if not is_small:
        return NET_DEFAULT
    return ENCODER_AVERAGE if has_encoder else LINEAR_DEFAULT
