"""The optional encoder, on a tiny random transformer. Needs the extra `encoder`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.models.base import ModelTraining, log_softmax
from batch_predictions.models.sentiment.models.encoder import EncoderError, EncoderModel
from batch_predictions.models.sentiment.sentiment_training import ClassifierTrainer
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.labelled_reviews import (
    Reviews,
    build_reviews,
    deduplicate,
)
from batch_predictions_tests.worlds.encoders import write_transformer_folder

OPTIONS = {"encoder_rate": 3e-3, "encoder_epochs": 6.0, "encoder_words": 1.0}
"""Word vectors are trained too, because those of the tiny transformer are random."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an encoder with one narrow layer and random weights."""
    pytest.importorskip("transformers")
    return write_transformer_folder(tmp_path_factory.mktemp("encoder"))


def world() -> Reviews:
    """160 reviews: `great` or `awful` among meaningless words."""
    random = np.random.default_rng(1)
    texts = []
    for n in range(160):
        words = [f"w{random.integers(10)}" for _ in range(random.integers(2, 8))]
        words.insert(int(random.integers(len(words))), ("awful", "great")[n % 2])
        texts.append(" ".join(words))
    return build_reviews(texts, [n % 2 for n in range(160)])


def new_trainer(folder: Path | None, **options: float) -> ClassifierTrainer:
    training = ModelTraining(
        2, 7, encoder=folder, options={**OPTIONS, **options}, progress=lambda _: None
    )
    return ClassifierTrainer(deduplicate(world()), training)


def fitted(folder: Path | None, **options: float) -> Classifier:
    return new_trainer(folder, **options).fit("encoder")


def test_it_learns_scores_independently_and_is_stored(folder: Path, tmp_path: Path) -> None:
    classifier = fitted(folder)
    documents = Documents(["w1 great w2", "awful w3", "w1 w1 w1 w1 w5 awful", "great w9 w9 w4", ""])
    together = classifier.probabilities(documents)
    assert together[:4].argmax(axis=1).tolist() == [1, 0, 0, 1]
    alone = np.concatenate([classifier.probabilities(Documents([text])) for text in documents])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    classifier.save(tmp_path)
    assert {path.suffix for path in tmp_path.rglob("*.*")} <= {".json", ".npy", ".txt"}
    assert (Classifier.load(tmp_path).probabilities(documents) == together).all()
    assert (fitted(folder).probabilities(documents) == together).all()


def test_frozen_weights_do_not_change(folder: Path) -> None:
    """Frozen, only the head is trained; by default, everything except the word vectors."""
    import torch
    import transformers

    pretrained = transformers.AutoModel.from_pretrained(folder).state_dict()

    def changed(**options: float) -> set[str]:
        model = fitted(folder, encoder_epochs=1, encoder_words=0, **options).models[0]
        body = model.module["body"].state_dict()  # type: ignore[attr-defined]
        return {name for name, value in body.items() if not torch.equal(value, pretrained[name])}

    words = "embeddings.word_embeddings.weight"
    assert not changed(frozen=1)
    assert words in pretrained and words not in changed()
    assert "embeddings.LayerNorm.weight" in changed()


@pytest.mark.parametrize("classes", [2, 3])
def test_the_head_of_a_frozen_encoder_is_a_logistic_regression_on_its_states(
    folder: Path, classes: int
) -> None:
    from sklearn.linear_model import LogisticRegression

    reviews = world()
    documents = reviews.documents
    labels = np.where(np.arange(160) % 7 == 0, classes - 1, reviews.labels)
    options = {"frozen": 1.0, "frozen_c": 0.5}
    training = ModelTraining(classes, 7, encoder=folder, options=options, progress=lambda _: None)
    model = EncoderModel().fit(documents, labels, (documents, labels), training)
    states = model._in_batches(documents, model._mean_states, 16)
    scaled = (states - states.mean(axis=0)) / states.std(axis=0)
    reference = LogisticRegression(C=0.5, max_iter=200).fit(scaled, labels)
    # The head may have been fitted on states in bfloat16, which differ a little from these.
    np.testing.assert_allclose(
        np.exp(log_softmax(model.log_scores(documents))),
        reference.predict_proba(scaled),
        atol=0.05,
    )
    assert np.ptp(reference.predict_proba(scaled), axis=0).min() > 0.3


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(EncoderError, match="no Hugging Face folder"):
        fitted(tmp_path)
    with pytest.raises(EncoderError, match=r"sentiment\.encoder"):
        fitted(None)


def test_it_is_averaged_with_the_linear_model(folder: Path, tmp_path: Path) -> None:
    trainer = new_trainer(folder, nets=3)
    average = trainer.fit("average_encoder")
    assert [model.kind for model in average.models] == ["encoder", "linear"]
    assert average.models[0] is trainer.fit("encoder").models[0]
    documents = Documents(["w1 great w2", "awful w3"])
    probabilities = average.probabilities(documents)
    assert probabilities.argmax(axis=1).tolist() == [1, 0]
    average.save(tmp_path)
    assert (Classifier.load(tmp_path).probabilities(documents) == probabilities).all()
