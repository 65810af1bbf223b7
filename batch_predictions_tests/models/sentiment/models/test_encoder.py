"""The optional encoder, on a tiny transformer that is made here. Needs the extra `encoder`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.data import Reviews, distinct, of_rows
from batch_predictions.models.sentiment.models.base import ModelTraining, log_softmax
from batch_predictions.models.sentiment.models.encoder import EncoderError, EncoderModel
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.training import ClassifierTrainer
from batch_predictions_tests.worlds.encoders import NAMES

OPTIONS = {"encoder_rate": 3e-3, "encoder_epochs": 6.0, "encoder_words": 1.0}
"""Words are learned too: those of the tiny transformer are random."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as of a pretrained encoder, with random weights of one narrow layer."""
    transformers = pytest.importorskip("transformers")
    import torch

    path = tmp_path_factory.mktemp("encoder")
    (path / "vocab.txt").write_text("\n".join(NAMES) + "\n", "utf-8")
    transformers.BertTokenizer(str(path / "vocab.txt")).save_pretrained(path)
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=len(NAMES),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=300,
    )
    transformers.BertModel(config).save_pretrained(path)
    return path


def reviews() -> Reviews:
    random = np.random.default_rng(1)
    texts = []
    for n in range(160):
        words = [f"w{random.integers(10)}" for _ in range(random.integers(2, 8))]
        words.insert(int(random.integers(len(words))), ("awful", "great")[n % 2])
        texts.append(" ".join(words))
    return of_rows(texts, [n % 2 for n in range(160)])


def fitter(folder: Path | None, **options: float) -> ClassifierTrainer:
    training = ModelTraining(
        2, 7, encoder=folder, options={**OPTIONS, **options}, progress=lambda _: None
    )
    return ClassifierTrainer(distinct(reviews()), training)


def fitted(folder: Path | None, **options: float) -> Classifier:
    return fitter(folder, **options).fit("encoder")


def test_it_learns_and_is_stored_and_does_not_look_at_neighbours(
    folder: Path, tmp_path: Path
) -> None:
    made = fitted(folder)
    some = Documents(["w1 great w2", "awful w3", "w1 w1 w1 w1 w5 awful", "great w9 w9 w4", ""])
    together = made.probabilities(some)
    assert together[:4].argmax(axis=1).tolist() == [1, 0, 0, 1]
    alone = np.concatenate([made.probabilities(Documents([text])) for text in some])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    made.save(tmp_path)
    assert {path.suffix for path in tmp_path.rglob("*.*")} <= {".json", ".npy", ".txt"}
    assert (Classifier.load(tmp_path).probabilities(some) == together).all()
    assert (fitted(folder).probabilities(some) == together).all()


def test_what_is_frozen_stays_as_it_was_given(folder: Path) -> None:
    """Frozen, only the head learns; as it is by default, all but the words."""
    import torch
    import transformers

    given = transformers.AutoModel.from_pretrained(folder).state_dict()

    def moved(**options: float) -> set[str]:
        made = fitted(folder, encoder_epochs=1, encoder_words=0, **options).parts[0]
        body = made.module["body"].state_dict()  # type: ignore[attr-defined]
        return {name for name, value in body.items() if not torch.equal(value, given[name])}

    words = "embeddings.word_embeddings.weight"
    assert not moved(frozen=1)
    assert words in given and words not in moved() and "embeddings.LayerNorm.weight" in moved()


@pytest.mark.parametrize("classes", [2, 3])
def test_a_frozen_encoder_s_head_is_a_logistic_regression_on_its_states(
    folder: Path, classes: int
) -> None:
    from sklearn.linear_model import LogisticRegression

    here = reviews()
    labels = np.where(np.arange(160) % 7 == 0, classes - 1, here.labels)
    options = {"frozen": 1.0, "frozen_c": 0.5}
    training = ModelTraining(classes, 7, encoder=folder, options=options, progress=lambda _: None)
    made = EncoderModel().fit(here.documents, labels, (here.documents, labels), training)
    states = made._by_batch(here.documents, made._pooled, 16)
    scaled = (states - states.mean(axis=0)) / states.std(axis=0)
    theirs = LogisticRegression(C=0.5, max_iter=200).fit(scaled, labels)
    # In bfloat16 the states that were learned from differ a little from these.
    np.testing.assert_allclose(
        np.exp(log_softmax(made.log_scores(here.documents))),
        theirs.predict_proba(scaled),
        atol=0.05,
    )
    assert np.ptp(theirs.predict_proba(scaled), axis=0).min() > 0.3


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(EncoderError, match="no Hugging Face folder"):
        fitted(tmp_path)
    with pytest.raises(EncoderError, match=r"sentiment\.encoder"):
        fitted(None)


def test_it_is_averaged_with_the_linear_model(folder: Path, tmp_path: Path) -> None:
    here = fitter(folder, nets=3)
    average = here.fit("average_encoder")
    assert [part.kind for part in average.parts] == ["encoder", "linear"]
    assert average.parts[0] is here.fit("encoder").parts[0]
    some = Documents(["w1 great w2", "awful w3"])
    assert average.probabilities(some).argmax(axis=1).tolist() == [1, 0]
    average.save(tmp_path)
    assert (Classifier.load(tmp_path).probabilities(some) == average.probabilities(some)).all()
