"""Sentiment of reviews."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from batch_predictions.settings.section import Section, Share


class SentimentSettings(Section):
    """Sentiment of reviews: weekly training, weekly tables."""

    candidates: list[
        Literal[
            "tfidf_lr",
            "nb_lr",
            "cnn",
            "lstm",
            "gru",
            "encoder",
            "average_cnn",
            "average_lstm",
            "average_gru",
            "average_encoder",
        ]
    ] = Field(
        ["tfidf_lr", "nb_lr", "cnn", "lstm", "average_cnn"],
        description="Models trained and compared each week by macro-F1; tfidf_lr, the baseline, "
        "always is. An average sums the logits of a net (or the encoder) and of nb_lr, "
        "and of tfidf_lr where classes are of unlike sizes.",
    )
    default: str = Field(
        "average_cnn", description="Model that `benchmark sentiment` names as the default."
    )
    negative_up_to: float = Field(2, description="Ratings up to this are negative.")
    positive_from: float = Field(4, description="Ratings from this on are positive.")
    history_days: int = Field(365, ge=1, description="Days of reviews that training looks back on.")
    max_reviews: int = Field(
        6_000, ge=100, description="Different texts that training takes at most, the newest."
    )
    min_reviews: int = Field(
        60, ge=20, description="With fewer labelled texts nothing is trained, and none scored."
    )
    holdout_share: float = Field(
        0.2, gt=0, lt=1, description="Share of reviews, the newest, that the models are judged on."
    )
    baseline_weeks: int = Field(
        4, ge=1, description="Weeks before, with which a product's week is compared."
    )
    change_share: Share = Field(
        0.05,
        description="Chance that any unchanged product of a week is marked as changed.",
    )
    min_change: float = Field(
        0.1, ge=0, description="Smaller changes of net sentiment are not marked, however certain."
    )
    aspects: int = Field(10, ge=1, description="Terms of a product in each direction, at most.")
    aspect_reviews: int = Field(3, ge=1, description="Reviews that a term stands in, at least.")
    vectors: Path | None = Field(
        None,
        description="Pretrained word vectors: a text file, or a BERT-like folder whose table of "
        "word pieces is read. Empty: nets learn their own.",
    )
    encoder: Path | None = Field(
        None, description="Local Hugging Face folder of the candidate encoder (extra: encoder)."
    )
    options: dict[str, float] = Field(
        default_factory=dict,
        description="Further values of training, such as {epochs: 12, size: 100, nets: 3}; "
        "docs/sentiment.md lists them.",
    )
    seed: int = Field(7, description="Seed of everything random in training.")
