"""The comparison of sentiment models on a file, and its cache of finished folds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from batch_predictions.cli.commands.benchmark_command import load_benchmark
from batch_predictions.models.sentiment.sentiment_candidates import LINEAR_CANDIDATES
from batch_predictions.settings import SentimentSettings, SettingsError

measure = load_benchmark("sentiment").measure


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Reviews of two classes; one word with a sentiment among meaningless words."""
    random = np.random.default_rng(1)
    lines = ["text\tlabel"]
    for n in range(120):
        label, word = (("negative", "awful"), ("positive", "great"))[n % 2]
        filling = " ".join(f"w{random.integers(30)}" for _ in range(6))
        # Some texts lack the word, so that the accuracy is less than 1.
        lines.append(f"{word if n % 9 else 'hm'} {filling}\t{label}")
    path = tmp_path / "reviews.tsv"
    path.write_text("\n".join(lines), "utf-8")
    return path


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


def test_only_the_missing_folds_are_computed(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    uncached, _ = run(file, None)
    first, fits = run(file, folder)
    # Predictions of two models in three folds, and the model that each fold chose.
    assert len(fits) == 6 and len(list(folder.glob("*.parquet"))) == 6
    assert len(list(folder.glob("choice-*.txt"))) == 3
    assert first["chosen"] == uncached["chosen"] and sum(first["chosen"].values()) == 3
    next(folder.glob("nb_lr-01-*")).unlink()
    second, fits = run(file, folder)
    assert len(fits) == 1 and "nb_lr" in fits[0]

    def without_speed(report: dict[str, Any]) -> dict[str, Any]:
        models = report["models"].items()
        return {name: {**figures, "reviews_per_second": 0} for name, figures in models}

    assert without_speed(uncached) == without_speed(first) == without_speed(second)
    assert 0.5 < first["models"]["nb_lr"]["accuracy"] < 1


def test_the_default_is_what_the_folds_choose_or_what_the_settings_name(file: Path) -> None:
    report, _ = run(file, None)
    chosen = report["chosen"]
    assert sum(chosen.values()) == 3 and report["default"] == max(chosen, key=chosen.get)
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


def test_other_options_or_reviews_are_computed_again(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    run(file, folder)
    assert len(run(file, folder, nb_c=0.5)[1]) == 6
    file.write_text(file.read_text("utf-8") + "\nquite great\tpositive", "utf-8")
    assert len(run(file, folder)[1]) == 6


def test_the_cache_is_a_table_of_labels_and_probabilities(file: Path, tmp_path: Path) -> None:
    report, _ = run(file, tmp_path / "cache")
    tables = [pq.read_table(path) for path in sorted((tmp_path / "cache").glob("nb_lr-*"))]
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
