"""Few labelled texts: linear models are compared by cross-validation, the best serves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from batch_predictions.models.common.intervals import Interval
from batch_predictions.models.sentiment.classifier import Classifier
from batch_predictions.models.sentiment.models.base import ModelTraining, log_softmax
from batch_predictions.models.sentiment.sentiment_metrics import (
    EvaluatedClassifier,
    fit_platt,
    fit_temperature,
    log_loss,
    macro_f1,
)
from batch_predictions.models.sentiment.sentiment_selection import (
    LINEAR_CANDIDATES,
    ClassifierComparison,
    SentimentSelection,
    candidates_by_size,
    choose_best,
    choose_significant,
    select_sentiment,
)
from batch_predictions.models.sentiment.sentiment_training import ClassifierTrainer
from batch_predictions.models.sentiment.text.labelled_reviews import (
    Reviews,
    build_reviews,
    stratified_folds,
)
from batch_predictions.settings import SentimentSettings
from batch_predictions_tests.worlds.benchmark_scripts import ROOT, import_benchmark

TRAINING = ModelTraining(3, 7, progress=lambda _: None)
DATA = ROOT.parent / "shared" / "data" / "reviews"
POSITIVE, NEGATIVE = 2, 0


def suffix_world(count: int) -> Reviews:
    """Words occur in one text, but for "the"; only the last letters of one word show its class."""
    random = np.random.default_rng(5)
    letters = np.array(list("abcdefghijklmnop"))

    def word(suffix: str = "") -> str:
        return "".join(random.choice(letters, 6)) + suffix

    labels = [POSITIVE if n % 3 else NEGATIVE for n in range(count)]
    texts = [
        f"the {word()} {word('xyz' if label == POSITIVE else 'wuv')} {word()}" for label in labels
    ]
    return build_reviews(texts, labels, [f"p{n % 23}" for n in range(count)])


def select(reviews: Reviews, candidates: Sequence[str]) -> SentimentSelection:
    return select_sentiment(
        reviews,
        TRAINING,
        SentimentSettings(candidates=list(candidates), min_reviews=60, small_reviews=5_000),
    )


@pytest.fixture(scope="module")
def by_size() -> SentimentSelection:
    return select(suffix_world(240), ())


def test_few_texts_leave_the_nets_out(by_size: SentimentSelection) -> None:
    assert {row["candidate"] for row in by_size.metrics} == {*LINEAR_CANDIDATES}
    assert not any("cnn" in name or "lstm" in name for name in candidates_by_size(True, True))
    assert "average_encoder" in candidates_by_size(True, has_encoder=True)
    with_lexicon = candidates_by_size(True, has_encoder=True, has_lexicon=True)
    assert with_lexicon == ("tfidf_lr", "average_lexicon_lr", "average_encoder")
    assert {"cnn", "average_cnn"} <= {*candidates_by_size(False, has_encoder=False)}


def test_the_best_in_folds_serves_and_the_decision_says_on_what(
    by_size: SentimentSelection,
) -> None:
    assert by_size.candidate == "average_char_lr" and by_size.beats_baseline
    assert by_size.split == "5 folds of products"
    assert "on 240 reviews (5 folds of products); tfidf_lr has" in by_size.why
    figures = {(row["candidate"], row["metric"]): row["value"] for row in by_size.metrics}
    # The third class does not occur; its F1 of 0 counts in the mean of three.
    assert figures["average_char_lr", "macro_f1"] == pytest.approx(2 / 3, abs=0.02)
    assert float(str(figures["tfidf_lr", "macro_f1"])) < 0.5
    new = suffix_world(500)
    predicted = by_size.classifier.probabilities(new.documents).argmax(axis=1)
    assert (predicted == new.labels).mean() > 0.95


def test_where_nothing_is_better_tfidf_serves_and_says_so() -> None:
    labels = [POSITIVE if n % 2 else NEGATIVE for n in range(120)]
    texts = [f"{'good' if label else 'bad'} w{n}" for n, label in enumerate(labels)]
    selection = select(build_reviews(texts, labels), ["nb_lr"])
    assert selection.candidate == "tfidf_lr" and not selection.beats_baseline
    assert selection.why == (
        "no candidate has a macro-F1 at least 0.01 above that of tfidf_lr, 0.6667 on 120 reviews "
        "(5 folds of products)"
    )


def test_a_small_gain_serves_only_where_few_texts_cannot_show_it_significant() -> None:
    truth = np.array([0, 1] * 4)
    evaluated = {
        name: EvaluatedClassifier(truth, truth, np.arange(8), 2) for name in ("tfidf_lr", "nb_lr")
    }
    gains = {"nb_lr": Interval(0.02, -0.01, 0.05, 8)}
    comparison = ClassifierComparison(evaluated, gains, "8 reviews", "5 folds of texts")
    assert choose_significant(comparison)[0] == "tfidf_lr"
    assert choose_best(comparison, min_gain=0.03)[0] == "tfidf_lr"
    name, why = choose_best(comparison)
    assert name == "nb_lr"
    assert why == (
        "nb_lr has macro-F1 1.0000 on 8 reviews; tfidf_lr has 0.0200 less "
        "(95 % interval -0.0100 to 0.0500): it serves, but is not significant"
    )


def test_no_review_is_judged_by_a_model_that_saw_it() -> None:
    """Random classes: a model that saw a text knows its class by its words."""
    random = np.random.default_rng(3)
    labels = random.permutation([NEGATIVE, POSITIVE] * 100)
    reviews = build_reviews([f"the a{n} b{n} c{n}" for n in range(200)], labels.tolist())
    trainer = ClassifierTrainer(reviews, TRAINING, stratified_folds(reviews, 5, 7))
    for name in ("nb_lr", "char_lr"):
        predicted = trainer.cross_validate(name).argmax(axis=1)
        assert macro_f1(labels // 2, predicted // 2, 2) < 0.65
        seen = trainer.fit(name).probabilities(reviews.documents).argmax(axis=1)
        assert (seen == labels).mean() > 0.8


def test_folds_have_whole_products_and_similar_class_shares() -> None:
    random = np.random.default_rng(0)
    labels = random.choice(3, 600, p=[0.1, 0.1, 0.8])
    products = [f"p{random.integers(60)}" for _ in labels]
    reviews = build_reviews([f"text {n}" for n in range(600)], labels.tolist(), products)
    folds = stratified_folds(reviews, 5, seed=1)
    assert sorted(np.concatenate([fold.test for fold in folds]).tolist()) == list(range(600))
    for fold in folds:
        train, test = reviews.take(fold.train), reviews.take(fold.test)
        assert fold.kind == "products" and not {*train.groups} & {*test.groups}
        assert (test.labels == NEGATIVE).mean() == pytest.approx(0.1, abs=0.05)


def test_where_one_product_has_a_class_folds_are_of_texts() -> None:
    labels = [NEGATIVE] * 6 + [POSITIVE] * 60
    products = ["bad"] * 6 + [f"p{n}" for n in range(60)]
    reviews = build_reviews([f"text {n}" for n in range(66)], labels, products)
    folds = stratified_folds(reviews, 5, seed=1)
    assert [fold.kind for fold in folds] == ["texts"] * 5
    assert all(len(np.unique(reviews.labels[fold.train])) == 2 for fold in folds)
    assert stratified_folds(reviews.take(np.arange(3, 66)), 5, seed=1) == []


def test_platt_scaling_finds_the_temperature_and_the_intercepts() -> None:
    random = np.random.default_rng(1)
    true_scores = log_softmax(random.normal(0, 2, (20_000, 3)))
    labels = (true_scores + random.gumbel(size=true_scores.shape)).argmax(axis=1)
    shift = np.array([0.5, -1.0, 0.5])
    scores = np.asarray(2 * (true_scores - shift), np.float32)
    temperature, intercepts = fit_platt(scores, labels)
    assert temperature == pytest.approx(2, abs=0.1)
    np.testing.assert_allclose(intercepts, shift, atol=0.1)
    calibrated = np.asarray(scores / temperature + intercepts, np.float32)
    assert log_loss(calibrated, labels) <= log_loss(true_scores, labels) + 1e-4
    assert log_loss(calibrated, labels) < log_loss(scores / fit_temperature(scores, labels), labels)


def test_scores_that_separate_the_classes_have_finite_parameters() -> None:
    scores = log_softmax(np.array([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0]] * 20))
    temperature, intercepts = fit_platt(scores, np.array([0, 1] * 20))
    assert 0 < temperature < 3 and np.abs(intercepts).max() <= 10
    assert intercepts[2] == 0


def test_intercepts_are_stored_and_calibrate_the_shares(tmp_path: Path) -> None:
    reviews = suffix_world(240)
    trainer = ClassifierTrainer(reviews, TRAINING, stratified_folds(reviews, 5, 7))
    for name in ("tfidf_lr", "average_char_lr"):
        classifier = trainer.fit(name)
        # The baseline is used as usual.
        assert (classifier.intercepts is None) == (name == "tfidf_lr")
        (tmp_path / name).mkdir()
        classifier.save(tmp_path / name)
        loaded = Classifier.load(tmp_path / name)
        expected = classifier.probabilities(reviews.documents)
        assert (loaded.probabilities(reviews.documents) == expected).all()


def test_calibration_does_not_change_the_classes_that_the_baseline_predicts() -> None:
    random = np.random.default_rng(2)
    labels = random.choice(3, 2_000, p=[0.1, 0.1, 0.8])
    # Log-probabilities that are twice as sure as they should be.
    scores = log_softmax(random.normal(size=(2_000, 3)) + 3 * np.eye(3)[labels])
    prior = np.bincount(labels) / 2_000
    usual, calibrated = Classifier([], 3, prior), Classifier([], 3, prior)
    usual.tune(scores, labels, equal_priors=True)
    calibrated.tune(scores, labels, equal_priors=True, platt=True)
    assert usual.temperature == usual.tau == 1
    assert calibrated.temperature != 1
    before, after = (c.adjusted_probabilities(scores) for c in (usual, calibrated))
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()
    unadjusted = np.log(calibrated.undo_prior_shift(after.astype(np.float64)))
    assert log_loss(unadjusted.astype(np.float32), labels) < log_loss(scores, labels)


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there")
def test_samples_of_public_reviews_have_whole_groups_and_the_class_shares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small_reviews = import_benchmark("small_reviews", monkeypatch)
    reviews = small_reviews.read_set("alexa", DATA).reviews
    halves = [small_reviews.take_half(reviews, half) for half in ("development", "report")]
    assert not {*halves[0].groups} & {*halves[1].groups}
    sample = reviews.take(small_reviews.draw_sample(reviews, 300, 1))
    assert len(sample) == 300
    np.testing.assert_allclose(
        np.bincount(sample.labels) / 300, np.bincount(reviews.labels) / len(reviews), atol=0.004
    )
    selection = select(sample, ["char_lr"])
    assert "on 300 reviews (5 folds of products)" in selection.why
