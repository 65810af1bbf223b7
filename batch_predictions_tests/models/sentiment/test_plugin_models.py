"""Sentiment models of a user's own package: fitted by name, averaged, stored and loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.models import base
from batch_predictions.models.sentiment.models.base import ModelTraining
from batch_predictions.models.sentiment.sentiment_training import ClassifierTrainer
from batch_predictions.models.sentiment.text.labelled_reviews import Reviews, build_reviews
from batch_predictions.tables import discovery
from batch_predictions_tests.worlds.plugin_packages import documented_module, load_package

LEXICON_MODULE = '''
"""A model that counts words of a list."""
from dataclasses import dataclass

import numpy as np

from batch_predictions.models.sentiment.models.base import SentimentModel, SentimentModelSpec


@dataclass(frozen=True)
class LexiconParameters:
    lexicon_weight: float = 1.0


class LexiconModel(SentimentModel):
    kind = "lexicon"

    def fit(self, documents, labels, held_out, training):
        self.weight = training.parameters(LexiconParameters).lexicon_weight
        return self

    def log_scores(self, documents):
        counts = [[tokens.count("awful"), tokens.count("great")] for tokens in documents.tokens]
        return self.weight * np.array(counts, np.float32)

    def save(self, folder):
        np.save(folder / "weight.npy", self.weight)

    @classmethod
    def load(cls, folder):
        model = cls()
        model.weight = float(np.load(folder / "weight.npy"))
        return model


lexicon = SentimentModelSpec("lexicon", LexiconModel, "linear", LexiconParameters)
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a package with a lexicon model and with the net of the documentation."""
    modules = {
        "lexicon": LEXICON_MODULE,
        "mean_net": documented_module("how_to/add_sentiment_model.md"),
    }
    return load_package(tmp_path, monkeypatch, "sentiment_plugin", modules).name


def world() -> Reviews:
    """One word with a sentiment among meaningless words."""
    random = np.random.default_rng(1)
    texts = [
        f"w{random.integers(20)} {('awful', 'great')[n % 2]} w{random.integers(20)} w{n}"
        for n in range(200)
    ]
    return build_reviews(texts, [n % 2 for n in range(200)])


@pytest.mark.parametrize("name", ["lexicon", "mean", "average_mean"])
def test_a_plugin_s_model_is_fitted_by_name_stored_and_loaded(
    plugin: str, name: str, tmp_path: Path
) -> None:
    reviews = world()
    options = {"epochs": 4.0, "rate": 0.02, "width": 8.0, "lexicon_weight": 3.0}
    training = ModelTraining(2, 7, options=options, progress=lambda _: None)
    classifier = ClassifierTrainer(reviews, training).fit(name)
    probabilities = classifier.probabilities(reviews.documents)
    assert (probabilities.argmax(axis=1) == reviews.labels).mean() > 0.95
    stored = tmp_path / "stored"
    stored.mkdir()
    classifier.save(stored)
    loaded = Classifier.load(stored)
    assert (loaded.probabilities(reviews.documents) == probabilities).all()


def test_a_plugin_s_net_is_averaged_with_linear_models_and_with_itself(plugin: str) -> None:
    options = {"epochs": 1.0, "width": 8.0, "nets": 2.0}
    training = ModelTraining(2, 7, options=options, progress=lambda _: None)
    average = ClassifierTrainer(world(), training).fit("average_mean")
    assert [model.kind for model in average.models] == ["net", "net", "linear"]


def test_a_plugin_s_models_and_options_are_known_only_while_it_is_loaded(
    plugin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"lexicon", "mean", "average_mean"} <= set(base.classifier_names())
    assert "average_lexicon" not in base.classifier_names()
    assert "lexicon_weight" in base.option_names()
    monkeypatch.setattr(discovery, "_plugins", {})
    assert "lexicon" not in base.classifier_names()
    with pytest.raises(ValueError, match=r"sentiment model 'lexicon'.*setting plugins"):
        base.load_model("lexicon", tmp_path)
