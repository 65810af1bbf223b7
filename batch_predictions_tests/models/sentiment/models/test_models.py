"""Every sentiment model passes the same contract, on a world whose answer is known."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.data import Reviews, distinct, of_rows
from batch_predictions.models.sentiment.metrics import EvaluatedClassifier, difference, macro_f1
from batch_predictions.models.sentiment.models.base import ModelTraining, log_softmax
from batch_predictions.models.sentiment.models.linear import LinearModel
from batch_predictions.models.sentiment.models.nets import NetModel
from batch_predictions.models.sentiment.selection import UNTRAINED, select_sentiment
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.training import ClassifierTrainer, names_known

GOOD, BAD, SOSO = ("great", "lovely", "superb"), ("awful", "broken", "nasty"), ("ok", "average")
NAMES = [name for name in names_known() if "encoder" not in name]


def world(number: int, seed: int) -> Reviews:
    """A word of feeling among words that mean nothing; one class is rare."""
    random = np.random.default_rng(seed)
    texts, labels = [], []
    for _ in range(number):
        label = int(random.choice(3, p=[0.3, 0.15, 0.55]))
        word = random.choice((BAD, SOSO, GOOD)[label])
        filling = [f"w{random.integers(40)}" for _ in range(random.integers(2, 25))]
        filling.insert(int(random.integers(len(filling))), str(word))
        texts.append(" ".join(filling))
        labels.append(label)
    return of_rows(texts, labels, [f"p{n % 9}" for n in range(number)])


@cache
def fitter() -> ClassifierTrainer:
    """All names share one, so that a net is fitted once."""
    options = {"epochs": 12.0, "width": 24.0, "size": 24.0, "rate": 0.006, "dropout": 0.2}
    return ClassifierTrainer(
        distinct(world(700, 1)), ModelTraining(3, 7, options=options, progress=lambda _: None)
    )


@cache
def fitted(name: str) -> Classifier:
    return fitter().fit(name)


@pytest.mark.parametrize("name", NAMES)
def test_it_finds_the_word_that_matters_the_rare_class_too(name: str) -> None:
    new = world(300, 2)
    guess = fitted(name).probabilities(new.documents)
    np.testing.assert_allclose(guess.sum(axis=1), 1, atol=1e-5)
    assert macro_f1(new.labels, guess.argmax(axis=1), 3) > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_a_review_does_not_depend_on_those_beside_it(name: str) -> None:
    """One by one, all at once, and in another order."""
    some = world(200, 3).documents
    together = fitted(name).probabilities(some)
    alone = np.concatenate([fitted(name).probabilities(Documents([text])) for text in some])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert (together.argmax(axis=1) == alone.argmax(axis=1)).all()
    order = np.random.default_rng(0).permutation(200)
    np.testing.assert_allclose(
        fitted(name).probabilities(some.take(order)), together[order], atol=1e-5
    )


@pytest.mark.parametrize("name", ["tfidf_lr", "average_cnn", "lstm"])
def test_stored_and_opened_it_says_the_same(name: str, tmp_path: Path) -> None:
    some = world(50, 4).documents
    fitted(name).save(tmp_path)
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} <= {".json", ".npy"}
    opened = Classifier.load(tmp_path)
    assert (opened.probabilities(some) == fitted(name).probabilities(some)).all()


@pytest.mark.parametrize("name", ["nb_lr", "gru"])
def test_fitted_again_it_is_the_same(name: str) -> None:
    training = ModelTraining(3, 7, options={"epochs": 2.0, "width": 8.0, "size": 8.0}, progress=len)
    some = world(50, 4).documents
    first, second = (
        ClassifierTrainer(distinct(world(200, 1)), training).fit(name).probabilities(some)
        for _ in range(2)
    )
    assert (first == second).all()


def test_an_average_of_several_nets_weighs_them_as_one(tmp_path: Path) -> None:
    options = {"epochs": 2.0, "width": 8.0, "size": 8.0, "nets": 2.0}
    here = ClassifierTrainer(
        distinct(world(200, 1)), ModelTraining(3, 7, options=options, progress=lambda _: None)
    )
    some = world(50, 4).documents
    average = here.fit("average_cnn")
    scores = [log_softmax(part.log_scores(some)) for part in average.parts]
    # The classes are of unlike sizes: both linear models are in it.
    assert len(scores) == 4 and not np.allclose(scores[0], scores[1])
    np.testing.assert_allclose(
        average.mean_scores(some),
        (scores[0] / 2 + scores[1] / 2 + scores[2] + scores[3]) / 3,
        atol=1e-5,
    )
    # The first is the net that stands under the net's own name.
    assert average.parts[0] is here.fit("cnn").parts[0]
    average.save(tmp_path)
    opened = Classifier.load(tmp_path)
    assert (opened.probabilities(some) == average.probabilities(some)).all()


def test_tfidf_is_in_an_average_where_a_class_is_rare_or_it_is_asked_for() -> None:
    def parts(reviews: Reviews, **options: float) -> int:
        options = {"epochs": 1.0, "width": 8.0, "size": 8.0, **options}
        training = ModelTraining(2, 7, options=options, progress=lambda _: None)
        return len(ClassifierTrainer(reviews, training).fit("average_cnn").parts)

    texts = [f"{('awful', 'great')[n % 2]} w{n}" for n in range(120)]
    even = of_rows(texts, [n % 2 for n in range(120)])
    rare = of_rows(texts[:90] + texts[90::2], [0, 1] * 45 + [0] * 15)
    assert parts(even) == 2 and parts(rare) == 3
    assert parts(even, average_tfidf=1.0) == 3 and parts(rare, average_tfidf=0.0) == 2


def test_weights_may_be_the_mean_of_the_last_epochs() -> None:
    """A net of three epochs, the mean from the second on, lies between its second and third."""
    shape = {"width": 8.0, "size": 8.0, "patience": 9.0}

    def weights(**options: float) -> np.ndarray:
        training = ModelTraining(3, 7, options={**shape, **options}, progress=lambda _: None)
        here = ClassifierTrainer(distinct(world(200, 1)), training)
        net = NetModel("cnn").fit(*here.rest, here.held, training)
        assert net.module is not None
        return net.module.get_parameter("out.weight").detach().numpy()

    # Trained on, the held-out loss of so short a training falls: the last epoch is kept.
    second, third = weights(epochs=2), weights(epochs=3)
    assert not np.allclose(second, third)
    np.testing.assert_allclose(
        weights(epochs=3, mean_from=2), (second + third) / 2, rtol=1e-4, atol=1e-6
    )


def test_probabilities_that_are_taken_back_are_those_of_the_data() -> None:
    new = world(1500, 5)
    classifier = fitted("average_cnn")
    usual = classifier.undo_prior_shift(
        classifier.probabilities(new.documents).astype(np.float64)
    ).mean(axis=0)
    np.testing.assert_allclose(usual, np.bincount(new.labels) / len(new), atol=0.04)


def test_strange_texts_are_scored_without_an_error() -> None:
    documents = Documents(["", "  ", "很好", "!" * 5000, "zzz " * 2000])
    for name in NAMES:
        assert np.isfinite(fitted(name).probabilities(documents)).all()


def test_a_net_begins_from_vectors_that_are_given(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    axis = random.normal(size=8)
    lines = [
        f"{word} " + " ".join(f"{x:.4f}" for x in sign * axis + 0.1 * random.normal(size=8))
        for words, sign in ((GOOD, 1), (BAD, -1), (SOSO, 0))
        for word in (*words, f"{words[0]}ish")
    ]
    path = tmp_path / "vectors.txt"
    path.write_text("\n".join(lines), "utf-8")
    training = ModelTraining(
        3, 7, path, options={"epochs": 10.0, "rate": 0.01, "dropout": 0.1}, progress=len
    )
    made = ClassifierTrainer(distinct(world(400, 1)), training).fit("cnn")
    # Words that no review had, known by their vectors alone.
    guess = made.probabilities(Documents(["w1 greatish w2 w3", "w1 awfulish w2 w3"]))
    assert guess.argmax(axis=1).tolist() == [2, 0]


@pytest.mark.parametrize("presence", [True, False])
def test_of_three_classes_one_may_never_occur(presence: bool):
    said = [f"it was {'good' if n % 2 else 'bad'} w{n % 7}" for n in range(60)]
    truth = np.array([2 if n % 2 else 0 for n in range(60)])
    documents = Documents(said)
    part = LinearModel(presence).fit(documents, truth, (documents, truth), ModelTraining(3, 7))
    scores = part.log_scores(documents)
    assert scores.shape == (60, 3) and (scores.argmax(axis=1) == truth).all()
    assert (scores[:, 1] < -10).all()


def test_the_gate_prefers_what_is_surely_better_and_says_why() -> None:
    random = np.random.default_rng(0)
    # Order matters, and words and neighbours say nothing: what stands between them, before and
    # after is chance.
    texts, labels = [], []
    for n in range(500):
        words = ["good", "bad"] if n % 2 else ["bad", "good"]
        filling = [f"w{random.integers(30)}" for _ in range(6)]
        texts.append(" ".join([*filling[:2], words[0], filling[2], words[1], *filling[3:]]))
        labels.append(2 if n % 2 else 0)
    found = select_sentiment(
        of_rows(texts, labels),
        ["cnn"],
        ModelTraining(3, 7, options={"epochs": 15.0, "rate": 0.01, "width": 16.0}, progress=len),
        holdout_share=0.3,
        min_reviews=50,
        max_reviews=1000,
    )
    assert found.chosen == "cnn" and found.beats_baseline and "tfidf_lr" in found.why
    by_name = {(row["candidate"], row["metric"]): row for row in found.metrics}
    assert by_name["cnn", "macro_f1_gain"]["lower"] > 0  # type: ignore[operator]
    assert {"f1_negative", "f1_neutral", "f1_positive", "accuracy", "macro_f1"} <= {
        str(metric) for _, metric in by_name
    }


def test_without_labels_nothing_is_learned_and_it_is_said() -> None:
    found = select_sentiment(
        of_rows(["only one"], [2]),
        ["cnn"],
        ModelTraining(3, 7),
        holdout_share=0.2,
        min_reviews=50,
        max_reviews=1000,
    )
    assert found.chosen == UNTRAINED and not found.classifier.parts and "min_reviews" in found.why


def test_macro_f1_and_its_difference_are_known() -> None:
    truth = np.array([0, 0, 1, 1, 2, 2])
    right = EvaluatedClassifier(truth, truth, np.arange(6), 3)
    wrong = EvaluatedClassifier(truth, np.array([0, 0, 1, 1, 1, 1]), np.arange(6), 3)
    assert right.intervals(1)["macro_f1"].mean == 1
    assert wrong.f1().tolist() == pytest.approx([1, 2 / 3, 0])
    gain = difference(right, wrong, 1)
    assert gain.mean == pytest.approx(4 / 9) and gain.lower >= 0
