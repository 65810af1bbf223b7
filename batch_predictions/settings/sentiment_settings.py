"""Settings of the sentiment of reviews."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from batch_predictions.settings.section import Section, Share


class SentimentSettings(Section):
    """Sentiment of reviews: weekly training, weekly tables."""

    candidates: list[str] = Field(
        default_factory=list,
        description="Models that are compared each week by macro-F1; the baseline tfidf_lr always "
        "is. Empty: by size: average_char_lr (of English texts average_lexicon_lr; and "
        "average_encoder where `encoder` is set) with fewer texts than `small_reviews`, else "
        "nb_lr, cnn, lstm and average_cnn. Available: tfidf_lr, nb_lr, char_lr, lexicon_lr, cnn, "
        "lstm, gru, encoder, average_char_lr, average_lexicon_lr, average_cnn, average_lstm, "
        "average_gru, average_encoder, and models of plugins. An average sums the logits of a "
        "model, of nb_lr and, where the classes are imbalanced, of tfidf_lr.",
    )
    default: str = Field(
        "",
        description="Model that `benchmark sentiment` reports as the default. Empty: by size: with "
        "fewer texts than `small_reviews` the model that cross-validation within the training "
        "folds chooses, as the weekly training does, else average_cnn.",
    )
    small_reviews: int = Field(
        5_000,
        ge=0,
        description="With fewer distinct labelled texts the models are compared by "
        "cross-validation: the one with the highest macro-F1 serves if it is at least .01 above "
        "tfidf_lr, else the model before it does, else tfidf_lr. Nets are compared only if "
        "`candidates` names them.",
    )
    negative_up_to: float = Field(2, description="Highest rating that is negative.")
    positive_from: float = Field(4, description="Lowest rating that is positive.")
    history_days: int = Field(365, ge=1, description="Days of reviews that training uses.")
    max_reviews: int = Field(
        6_000, ge=100, description="Largest number of distinct texts in training, the newest."
    )
    min_reviews: int = Field(
        60,
        ge=20,
        description="With fewer labelled texts nothing is trained, and no review is scored.",
    )
    min_language_reviews: int = Field(
        200,
        ge=20,
        description="Labelled texts that a language besides the main one needs for a model. "
        "Reviews in languages with fewer are not scored, unless `multilingual` is set.",
    )
    multilingual: bool = Field(
        False,
        description="Whether the model of `encoder` knows many languages (such as XLM-R): then it "
        "also scores reviews in languages without a model.",
    )
    holdout_share: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Share of reviews, the newest, on which the models are compared where there "
        "are `small_reviews` texts or more.",
    )
    baseline_weeks: int = Field(
        4, ge=1, description="Number of previous weeks with which an item's week is compared."
    )
    change_share: Share = Field(
        0.05,
        description="Probability that any unchanged item of a week is marked as changed.",
    )
    min_change: float = Field(
        0.1,
        ge=0,
        description="Smaller changes of net sentiment are not marked, even if significant.",
    )
    aspects: int = Field(10, ge=1, description="Largest number of terms per item and direction.")
    aspect_reviews: int = Field(
        3, ge=1, description="Smallest number of an item's reviews that contain a term."
    )
    vectors: Path | None = Field(
        None,
        description="Pretrained word vectors: a text file, or a BERT-like folder whose table of "
        "word pieces is read. Empty: nets learn their own.",
    )
    encoder: Path | None = Field(
        None, description="Local Hugging Face folder of the model encoder (extra: encoder)."
    )
    options: dict[str, float] = Field(
        default_factory=dict,
        description="Parameters of the models, such as {epochs: 12, size: 100, nets: 3}; "
        "docs/explanation/sentiment.md lists them.",
    )
    seed: int = Field(7, description="Seed of the random numbers of training.")
