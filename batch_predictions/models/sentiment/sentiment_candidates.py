"""The models that are compared, by the number of labelled texts.

The setting `sentiment.candidates` replaces them; docs/sentiment.md has the figures behind them.
"""

from __future__ import annotations

LINEAR_CANDIDATES = ("tfidf_lr", "average_char_lr")
"""The parts of the average, nb_lr and char_lr, are no candidates: among more candidates the choice
on few texts is less stable."""
NET_CANDIDATES = ("tfidf_lr", "nb_lr", "cnn", "lstm", "average_cnn")
ENCODER_AVERAGE = "average_encoder"
"""Also compared on few texts where there is an encoder."""
NET_DEFAULT = "average_cnn"
"""What `benchmark sentiment` reports as the default where there are not few texts."""


def candidates_by_size(is_small: bool, has_encoder: bool) -> tuple[str, ...]:
    """Names of the models that are compared.

    Args:
        is_small: whether there are fewer texts than `sentiment.small_reviews`.
        has_encoder: whether `sentiment.encoder` is set.
    """
    if not is_small:
        return NET_CANDIDATES
    return (*LINEAR_CANDIDATES, ENCODER_AVERAGE) if has_encoder else LINEAR_CANDIDATES
