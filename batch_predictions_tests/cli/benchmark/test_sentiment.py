"""The comparison of sentiment models on a file, and its cache of finished folds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from batch_predictions.cli.benchmark.sentiment import measure
from batch_predictions.models.sentiment.sentiment_selection import LINEAR_CANDIDATES
from batch_predictions.settings import SentimentSettings, SettingsError

Cached = tuple[dict[str, Any], list[str], Path]
"""The report and the fits of a run with an empty cache, and the cache."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reviews of two classes; one word with a sentiment among meaningless words."""
    random = np.random.default_rng(1)
    lines = ["text\tlabel"]
    for n in range(120):
        label, word = (("negative", "awful"), ("positive", "great"))[n % 2]
        filling = " ".join(f"w{random.integers(30)}" for _ in range(6))
        # Some texts lack the word, so that the accuracy is less than 1.
        lines.append(f"{word if n % 9 else 'hm'} {filling}\t{label}")
    path = tmp_path_factory.mktemp("reviews") / "reviews.tsv"
    path.write_text("\n".join(lines), "utf-8")
    return path


@pytest.fixture(scope="module")
def uncached(file: Path) -> dict[str, Any]:
    """The report without a cache."""
    return run(file, None)[0]


@pytest.fixture(scope="module")
def first(file: Path) -> Cached:
    folder = file.parent / "cache"
    return *run(file, folder), folder


@pytest.fixture
def cache(first: Cached, tmp_path: Path) -> Path:
    """A copy of the cache of the first run."""
    return shutil.copytree(first[2], tmp_path / "cache")


def run(
    file: Path, cache_folder: Path | None, **options: float
) -> tuple[dict[str, Any], list[str]]:
    """The report, and the log lines of fits."""
    lines: list[str] = []
    report = measure(
        file,
        SentimentSettings(options=options),
        test=None,
        fold_count=3,
        group=None,
        models=["tfidf_lr", "nb_lr"],
        progress=lines.append,
        cache_folder=cache_folder,
    )
    return report, [line for line in lines if line.startswith("fitting")]


def test_only_the_missing_folds_are_computed(
    file: Path,
    uncached: dict[str, Any],
    first: Cached,
    cache: Path,
) -> None:
    report, fits, _ = first
    # Predictions of two models in three folds, and the model that each fold chose.
    assert len(fits) == 6 and len(list(cache.glob("*.parquet"))) == 6
    assert len(list(cache.glob("choice-*.txt"))) == 3
    assert report["chosen"] == uncached["chosen"] and sum(report["chosen"].values()) == 3
    next(cache.glob("nb_lr-01-*")).unlink()
    second, fits = run(file, cache)
    assert len(fits) == 1 and "nb_lr" in fits[0]

    def without_speed(report: dict[str, Any]) -> dict[str, Any]:
        models = report["models"].items()
        return {name: {**figures, "reviews_per_second": 0} for name, figures in models}

    assert without_speed(uncached) == without_speed(report) == without_speed(second)
    assert 0.5 < report["models"]["nb_lr"]["accuracy"] < 1


def test_the_default_is_what_the_folds_choose_or_what_the_settings_name(
    file: Path, uncached: dict[str, Any]
) -> None:
    chosen = uncached["chosen"]
    assert sum(chosen.values()) == 3 and uncached["default"] == max(chosen, key=chosen.get)
    named = measure(
        file,
        SentimentSettings(default="nb_lr", small_reviews=0),
        test=None,
        fold_count=3,
        group=None,
        models=["tfidf_lr", "nb_lr"],
        progress=lambda _: None,
    )
    assert named["default"] == "nb_lr" and named["chosen"] == {}


def test_few_texts_are_compared_without_nets(file: Path) -> None:
    report = measure(
        file,
        SentimentSettings(),
        test=None,
        fold_count=2,
        group=None,
        models=(),
        progress=lambda _: None,
    )
    assert {*report["models"]} == {*LINEAR_CANDIDATES}


def test_other_options_or_reviews_are_computed_again(
    file: Path, cache: Path, tmp_path: Path
) -> None:
    assert len(run(file, cache, nb_c=0.5)[1]) == 6
    more = tmp_path / "more.tsv"
    more.write_text(file.read_text("utf-8") + "\nquite great\tpositive", "utf-8")
    assert len(run(more, cache)[1]) == 6


def test_the_cache_is_a_table_of_labels_and_probabilities(
    first: Cached,
) -> None:
    report, _, folder = first
    tables = [pq.read_table(path) for path in sorted(folder.glob("nb_lr-*"))]
    hits = sum(
        int(((table["p_1"].to_numpy() > 0.5) == (table["label"].to_numpy() == 1)).sum())
        for table in tables
    )
    assert round(hits / sum(map(len, tables)), 4) == report["models"]["nb_lr"]["accuracy"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("words\tlabel\ngood\tpositive", "no column for text: it has words, label"),
        ("text\tclass_name\ngood\tpositive", "no column for rating or label"),
        ("text\tlabel\ngood\tpositive", "fewer than two classes"),
    ],
)
def test_a_file_that_cannot_be_used_is_explained(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "reviews.tsv"
    path.write_text(text, "utf-8")
    with pytest.raises(SettingsError, match=message):
        run(path, None)
