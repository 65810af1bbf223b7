"""Every sentiment model passes the same contract, on reviews whose sentiment is known."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.language_classifiers import LanguageClassifiers
from batch_predictions.models.sentiment.models.base import (
    ModelTraining,
    classifier_names,
    log_softmax,
)
from batch_predictions.models.sentiment.models.cnn import CNN
from batch_predictions.models.sentiment.models.linear import LinearModel
from batch_predictions.models.sentiment.models.net import NetModel
from batch_predictions.models.sentiment.sentiment_metrics import (
    EvaluatedClassifier,
    macro_f1,
    macro_f1_difference,
)
from batch_predictions.models.sentiment.sentiment_selection import UNTRAINED, select_sentiment
from batch_predictions.models.sentiment.sentiment_training import ClassifierTrainer
from batch_predictions.models.sentiment.text.documents import Documents
from batch_predictions.models.sentiment.text.labelled_reviews import (
    Reviews,
    build_reviews,
    deduplicate,
)
from batch_predictions.predictions.review_sentiments import ReviewScorer
from batch_predictions.settings import SentimentSettings, SettingsError

POSITIVE, NEGATIVE, NEUTRAL = (
    ("great", "lovely", "superb"),
    ("awful", "broken", "nasty"),
    ("ok", "average"),
)
# Those that need no extra, and no files.
NAMES = [name for name in classifier_names() if not name.endswith(("encoder", "lexicon_lr"))]


def world(number: int, seed: int) -> Reviews:
    """One word with a sentiment among meaningless words; the neutral class is rare."""
    random = np.random.default_rng(seed)
    texts, labels = [], []
    for _ in range(number):
        label = int(random.choice(3, p=[0.3, 0.15, 0.55]))
        word = random.choice((NEGATIVE, NEUTRAL, POSITIVE)[label])
        words = [f"w{random.integers(40)}" for _ in range(random.integers(2, 25))]
        words.insert(int(random.integers(len(words))), str(word))
        texts.append(" ".join(words))
        labels.append(label)
    return build_reviews(texts, labels, [f"p{n % 9}" for n in range(number)])


@cache
def shared_trainer() -> ClassifierTrainer:
    """One trainer for all names, so that each net is fitted once."""
    options = {"epochs": 9.0, "width": 24.0, "size": 24.0, "rate": 0.01, "dropout": 0.2}
    return ClassifierTrainer(
        deduplicate(world(400, 1)), ModelTraining(3, 7, options=options, progress=lambda _: None)
    )


@cache
def fitted(name: str) -> Classifier:
    return shared_trainer().fit(name)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_the_words_that_matter_those_of_the_rare_class_too(name: str) -> None:
    reviews = world(300, 2)
    probabilities = fitted(name).probabilities(reviews.documents)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert macro_f1(reviews.labels, probabilities.argmax(axis=1), 3) > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_the_score_of_a_review_does_not_depend_on_the_other_reviews(name: str) -> None:
    """Scored one by one, all at once, and in another order."""
    documents = world(60, 3).documents
    together = fitted(name).probabilities(documents)
    alone = np.concatenate([fitted(name).probabilities(Documents([text])) for text in documents])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert (together.argmax(axis=1) == alone.argmax(axis=1)).all()
    order = np.random.default_rng(0).permutation(60)
    np.testing.assert_allclose(
        fitted(name).probabilities(documents.take(order)), together[order], atol=1e-5
    )


@pytest.mark.parametrize("name", ["tfidf_lr", "average_cnn", "lstm"])
def test_a_loaded_classifier_gives_the_same_probabilities(name: str, tmp_path: Path) -> None:
    documents = world(50, 4).documents
    fitted(name).save(tmp_path)
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} <= {".json", ".npy"}
    loaded = Classifier.load(tmp_path)
    assert (loaded.probabilities(documents) == fitted(name).probabilities(documents)).all()


@pytest.mark.parametrize(("name", "uses_gpu"), [("lstm", True), ("cnn", True), ("tfidf_lr", False)])
def test_a_gpu_is_asked_for_where_the_chosen_model_is_a_net(
    name: str, uses_gpu: bool, tmp_path: Path
) -> None:
    LanguageClassifiers(fitted(name)).save(tmp_path)
    assert ReviewScorer.uses_gpu(tmp_path) is uses_gpu
    on_cpu = LanguageClassifiers.load(tmp_path).to_device("cpu")
    assert on_cpu.main.probabilities(Documents(["good"])).shape == (1, 3)
    if uses_gpu:
        # A device without arithmetic: weights and batches are moved there, and only then computed.
        net = LanguageClassifiers.load(tmp_path).to_device("meta").main.models[0]
        with pytest.raises(NotImplementedError, match="meta tensor"):
            net.log_scores(Documents(["good"]))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["average_cnn", "lstm"])
def test_a_gpu_gives_the_labels_of_the_cpu(name: str, tmp_path: Path) -> None:
    documents = world(50, 4).documents
    fitted(name).save(tmp_path)
    on_gpu = Classifier.load(tmp_path).to_device("cuda").probabilities(documents)
    np.testing.assert_allclose(on_gpu, fitted(name).probabilities(documents), atol=1e-3)


@pytest.mark.parametrize("name", ["nb_lr", "char_lr", "gru"])
def test_a_second_fit_gives_the_same_probabilities(name: str) -> None:
    training = ModelTraining(
        3, 7, options={"epochs": 2.0, "width": 8.0, "size": 8.0}, progress=lambda _: None
    )
    documents = world(50, 4).documents
    first, second = (
        ClassifierTrainer(deduplicate(world(200, 1)), training).fit(name).probabilities(documents)
        for _ in range(2)
    )
    assert (first == second).all()


def test_several_nets_weigh_as_much_as_one_linear_model_in_an_average(tmp_path: Path) -> None:
    options = {"epochs": 2.0, "width": 8.0, "size": 8.0, "nets": 2.0}
    trainer = ClassifierTrainer(
        deduplicate(world(200, 1)), ModelTraining(3, 7, options=options, progress=lambda _: None)
    )
    documents = world(50, 4).documents
    average = trainer.fit("average_cnn")
    scores = [log_softmax(model.log_scores(documents)) for model in average.models]
    # The classes are imbalanced, so that the average has both linear models.
    assert len(scores) == 4 and not np.allclose(scores[0], scores[1])
    np.testing.assert_allclose(
        average.mean_scores(documents),
        (scores[0] / 2 + scores[1] / 2 + scores[2] + scores[3]) / 3,
        atol=1e-5,
    )
    # The first net is the one that has the net's own name.
    assert average.models[0] is trainer.fit("cnn").models[0]
    average.save(tmp_path)
    loaded = Classifier.load(tmp_path)
    assert (loaded.probabilities(documents) == average.probabilities(documents)).all()


def test_an_average_has_tfidf_if_a_class_is_rare_or_if_the_option_says_so() -> None:
    def count_models(reviews: Reviews, **options: float) -> int:
        options = {"epochs": 1.0, "width": 8.0, "size": 8.0, **options}
        training = ModelTraining(2, 7, options=options, progress=lambda _: None)
        return len(ClassifierTrainer(reviews, training).fit("average_cnn").models)

    texts = [f"{('awful', 'great')[n % 2]} w{n}" for n in range(120)]
    balanced = build_reviews(texts, [n % 2 for n in range(120)])
    imbalanced = build_reviews(texts[:90] + texts[90::2], [0, 1] * 45 + [0] * 15)
    assert count_models(balanced) == 2 and count_models(imbalanced) == 3
    assert count_models(balanced, average_tfidf=1.0) == 3
    assert count_models(imbalanced, average_tfidf=0.0) == 2


def test_weights_can_be_the_mean_of_the_last_epochs() -> None:
    """Three epochs with the mean from the second on: between epoch two and epoch three."""
    shape = {"width": 8.0, "size": 8.0, "patience": 9.0}

    def fit_weights(**options: float) -> np.ndarray:
        training = ModelTraining(3, 7, options={**shape, **options}, progress=lambda _: None)
        trainer = ClassifierTrainer(deduplicate(world(200, 1)), training)
        model = NetModel(CNN).fit(*trainer.remaining, trainer.held_out, training)
        assert model.module is not None
        return model.module.get_parameter("out.weight").detach().numpy()

    # The held-out loss falls in such a short training, so that the last epoch is selected.
    second, third = fit_weights(epochs=2), fit_weights(epochs=3)
    assert not np.allclose(second, third)
    np.testing.assert_allclose(
        fit_weights(epochs=3, mean_from=2), (second + third) / 2, rtol=1e-4, atol=1e-6
    )


def test_probabilities_without_the_adjustment_add_up_to_the_class_shares() -> None:
    reviews = world(1500, 5)
    classifier = fitted("average_cnn")
    adjusted = classifier.probabilities(reviews.documents).astype(np.float64)
    shares = classifier.undo_prior_shift(adjusted).mean(axis=0)
    np.testing.assert_allclose(shares, np.bincount(reviews.labels) / len(reviews), atol=0.04)


def test_unusual_texts_are_scored_without_an_error() -> None:
    documents = Documents(["", "  ", "很好", "!" * 5000, "zzz " * 2000])
    for name in NAMES:
        assert np.isfinite(fitted(name).probabilities(documents)).all()


def test_a_net_starts_from_pretrained_vectors(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    axis = random.normal(size=8)
    lines = [
        f"{word} " + " ".join(f"{x:.4f}" for x in sign * axis + 0.1 * random.normal(size=8))
        for words, sign in ((POSITIVE, 1), (NEGATIVE, -1), (NEUTRAL, 0))
        for word in (*words, f"{words[0]}ish")
    ]
    path = tmp_path / "vectors.txt"
    path.write_text("\n".join(lines), "utf-8")
    training = ModelTraining(
        3, 7, path, options={"epochs": 10.0, "rate": 0.01, "dropout": 0.1}, progress=lambda _: None
    )
    classifier = ClassifierTrainer(deduplicate(world(400, 1)), training).fit("cnn")
    # These words are in no review: the net knows only their vectors.
    documents = Documents(["w1 greatish w2 w3", "w1 awfulish w2 w3"])
    assert classifier.probabilities(documents).argmax(axis=1).tolist() == [2, 0]


@pytest.mark.parametrize("presence", [True, False])
def test_a_class_without_a_training_review_is_never_predicted(presence: bool) -> None:
    texts = [f"it was {'good' if n % 2 else 'bad'} w{n % 7}" for n in range(60)]
    labels = np.array([2 if n % 2 else 0 for n in range(60)])
    documents = Documents(texts)
    model = LinearModel(presence).fit(documents, labels, (documents, labels), ModelTraining(3, 7))
    scores = model.log_scores(documents)
    assert scores.shape == (60, 3) and (scores.argmax(axis=1) == labels).all()
    assert (scores[:, 1] < -10).all()


def test_texts_that_share_no_term_are_fitted_by_their_single_terms() -> None:
    documents = Documents(["splendid", "horrid", "marvellous", "dreadful"])
    labels = np.array([2, 0, 2, 0])
    training = ModelTraining(3, 7)
    model = LinearModel(presence=False).fit(documents, labels, (documents, labels), training)
    assert (model.log_scores(documents).argmax(axis=1) == labels).all()


def test_the_selection_takes_a_significantly_better_model_and_explains_it() -> None:
    random = np.random.default_rng(0)
    # The order of two words decides; single words and pairs of neighbours carry no information,
    # because the words between, before and after them are random.
    texts, labels = [], []
    for n in range(500):
        words = ["good", "bad"] if n % 2 else ["bad", "good"]
        filling = [f"w{random.integers(30)}" for _ in range(6)]
        texts.append(" ".join([*filling[:2], words[0], filling[2], words[1], *filling[3:]]))
        labels.append(2 if n % 2 else 0)
    selection = select_sentiment(
        build_reviews(texts, labels),
        ModelTraining(
            3, 7, options={"epochs": 15.0, "rate": 0.01, "width": 16.0}, progress=lambda _: None
        ),
        SentimentSettings(candidates=["cnn"], holdout_share=0.3, min_reviews=50, small_reviews=0),
    )
    assert selection.candidate == "cnn" and selection.beats_baseline
    assert "tfidf_lr" in selection.why
    rows = {(row["candidate"], row["metric"]): row for row in selection.metrics}
    assert rows["cnn", "macro_f1_gain"]["lower"] > 0  # type: ignore[operator]
    assert {"f1_negative", "f1_neutral", "f1_positive", "accuracy", "macro_f1"} <= {
        str(metric) for _, metric in rows
    }


def test_without_enough_labels_nothing_is_trained_and_the_reason_is_given() -> None:
    selection = select_sentiment(
        build_reviews(["only one"], [2]),
        ModelTraining(3, 7),
        SentimentSettings(candidates=["cnn"], min_reviews=50, small_reviews=0),
    )
    assert selection.candidate == UNTRAINED and not selection.classifier.models
    assert "min_reviews" in selection.why


def test_unknown_names_of_models_and_options_are_refused_with_the_known_ones() -> None:
    reviews = build_reviews(["good", "bad"], [2, 0])
    for name in ("cnm", "average_nb_lr"):
        with pytest.raises(SettingsError, match=rf"'{name}': choose from tfidf_lr, .*average_cnn"):
            ClassifierTrainer(reviews, ModelTraining(3, 7)).fit(name)
    with pytest.raises(SettingsError, match=r"unknown names: epoch\. Known are .*epochs, .*nets"):
        ClassifierTrainer(reviews, ModelTraining(3, 7, options={"epoch": 3.0}))


def test_macro_f1_and_its_difference_are_known() -> None:
    truth = np.array([0, 0, 1, 1, 2, 2])
    right = EvaluatedClassifier(truth, truth, np.arange(6), 3)
    wrong = EvaluatedClassifier(truth, np.array([0, 0, 1, 1, 1, 1]), np.arange(6), 3)
    assert right.intervals(1)["macro_f1"].mean == 1
    assert wrong.f1().tolist() == pytest.approx([1, 2 / 3, 0])
    gain = macro_f1_difference(right, wrong, 1)
    assert gain.mean == pytest.approx(4 / 9) and gain.lower >= 0
