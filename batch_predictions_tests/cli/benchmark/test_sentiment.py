"""The comparison of sentiment models on a file, and what it keeps of finished folds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from batch_predictions.cli.benchmark.sentiment import benchmark
from batch_predictions.settings import SentimentSettings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Reviews of two classes; a word of feeling among words that mean nothing."""
    random = np.random.default_rng(1)
    lines = ["text\tlabel"]
    for n in range(120):
        label, word = (("negative", "awful"), ("positive", "great"))[n % 2]
        filling = " ".join(f"w{random.integers(30)}" for _ in range(6))
        # A few say the opposite: figures are not all 1.
        lines.append(f"{word if n % 9 else 'hm'} {filling}\t{label}")
    path = tmp_path / "reviews.tsv"
    path.write_text("\n".join(lines), "utf-8")
    return path


def compare(file: Path, keep: Path | None, **options: float) -> tuple[dict[str, Any], list[str]]:
    """The report, and what was said of fits."""
    said: list[str] = []
    report = benchmark(
        file,
        SentimentSettings(options=options),
        test=None,
        folds_=3,
        group=None,
        models=["tfidf_lr", "nb_lr"],
        progress=said.append,
        keep=keep,
    )
    return report, [each for each in said if each.startswith("fitting")]


def test_a_comparison_goes_on_with_the_folds_that_are_missing(file: Path, tmp_path: Path) -> None:
    keep = tmp_path / "kept"
    plain, _ = compare(file, None)
    first, fits = compare(file, keep)
    assert len(fits) == 6 and len(list(keep.iterdir())) == 6
    next(keep.glob("nb_lr-01-*")).unlink()
    again, fits = compare(file, keep)
    assert len(fits) == 1 and "nb_lr" in fits[0]

    def figures(report: dict[str, Any]) -> dict[str, Any]:
        models = report["models"].items()
        return {k: {**each, "reviews_per_second": 0} for k, each in models}

    assert figures(plain) == figures(first) == figures(again)
    assert 0.5 < first["models"]["nb_lr"]["accuracy"] < 1


def test_other_options_or_reviews_are_fitted_anew(file: Path, tmp_path: Path) -> None:
    keep = tmp_path / "kept"
    compare(file, keep)
    assert len(compare(file, keep, nb_c=0.5)[1]) == 6
    file.write_text(file.read_text("utf-8") + "\nquite great\tpositive", "utf-8")
    assert len(compare(file, keep)[1]) == 6


def test_what_is_kept_is_a_table_of_probabilities_beside_the_truth(
    file: Path, tmp_path: Path
) -> None:
    report, _ = compare(file, tmp_path / "kept")
    tables = [pq.read_table(path) for path in sorted((tmp_path / "kept").glob("nb_lr-*"))]
    right = sum(
        int(((each["p_1"].to_numpy() > 0.5) == (each["label"].to_numpy() == 1)).sum())
        for each in tables
    )
    assert round(right / sum(map(len, tables)), 4) == report["models"]["nb_lr"]["accuracy"]
