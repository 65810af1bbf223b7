"""A source with nothing but reviews goes all the way to a lookup; a planted change is found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from batch_predictions_tests.worlds.paths import CONTRACT
from batch_predictions_tests.worlds.retail_fixtures import as_json, command, environment
from batch_predictions_tests.worlds.reviews import GERMAN, TURNED, write_reviews

LAST = "2024-02-18"
WEEK = "2024-02-12"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], Path]]:
    """Seven weeks of reviews, run once for the days up to two Sundays."""
    root = tmp_path_factory.mktemp("reviews")
    write_reviews(root / "source")
    env = environment(
        root / "home",
        root / "source",
        BATCH_PREDICTIONS_SENTIMENT__CANDIDATES='["nb_lr", "cnn"]',
        BATCH_PREDICTIONS_SENTIMENT__ASPECT_REVIEWS="2",
        BATCH_PREDICTIONS_SENTIMENT__OPTIONS='{"epochs": 3, "width": 16, "size": 16, "rate": 0.01}',
    )
    summary = as_json("run", "--from", "2024-02-11", "--date", LAST, env=env, cwd=root)
    assert summary["skipped"] == [
        "churn_scores, demand_forecasts, demographic_recommendations, lead_time_demand, "
        "promotion_audience, recommendations, replenishment_orders, retention_audience: the source "
        "has no interactions"
    ]
    assert summary["rows"]["item_sentiments"] == 12
    yield env, root


def _ask(root: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(root / "home" / "warehouse.duckdb"), read_only=True) as db:
        return db.execute(sql).fetchall()


def test_the_item_that_turned_bad_is_flagged_in_its_week_and_no_other(
    shop: tuple[dict[str, str], Path],
) -> None:
    rows = _ask(
        shop[1],
        "select week::VARCHAR, item_id, change < -0.5 from predictions.item_sentiments "
        "where changed order by all",
    )
    assert rows == [(WEEK, TURNED, True)]
    assert _ask(shop[1], "select count(*) from predictions.item_sentiments") == [(24,)]


def test_the_words_that_say_why_are_those_of_the_displeased(
    shop: tuple[dict[str, str], Path],
) -> None:
    rows = _ask(shop[1], "select term, direction from predictions.aspects")
    told = {"up": "great lovely perfect tasty works", "down": "awful broken useless leaking taste"}
    meant = [
        any(word in told[str(direction)].split() for word in str(term).split())
        for term, direction in rows
        if set(str(term).split()) & set(" ".join(told.values()).split())
    ]
    assert len(meant) >= 10 and sum(meant) / len(meant) > 0.9


def test_another_language_is_excluded_with_its_name(shop: tuple[dict[str, str], Path]) -> None:
    _, root = shop
    rows = _ask(
        root,
        "select count(*), min(reason) from predictions.exclusions where table_name = "
        "'review_sentiments'",
    )
    there = _ask(
        root,
        f"select count(*) from raw.reviews where text = '{GERMAN}' and date >= '2024-02-05' "
        f"and date <= '{LAST}'",
    )
    assert rows[0][0] == there[0][0] and "language de" in str(rows[0][1])


def test_a_lookup_tells_shares_change_terms_and_examples(
    shop: tuple[dict[str, str], Path],
) -> None:
    env, root = shop
    answer = as_json("lookup", "sentiment", TURNED, env=env, cwd=root)
    assert answer["week"] == WEEK and answer["sentiment"]["changed"] in (True, 1)
    assert answer["sentiment"]["simulated"] in (False, 0)
    assert answer["examples"][0]["sentiment"] == "negative"
    text = command("lookup", "sentiment", TURNED, env=env, cwd=root).stdout
    assert "net sentiment -" in text and "changed" in text
    assert "no review" in command("lookup", "sentiment", "nobody", env=env, cwd=root).stdout


def test_every_candidate_is_measured_and_the_baseline_is_tfidf(
    shop: tuple[dict[str, str], Path],
) -> None:
    env, root = shop
    metrics = as_json("models", "metrics", "sentiment", env=env, cwd=root)
    assert {each["candidate"] for each in metrics} == {"tfidf_lr", "nb_lr", "cnn"}
    assert all(
        each["lower"] <= each["value"] <= each["upper"]
        for each in metrics
        if each["lower"] is not None
    )


def test_run_again_it_changes_nothing(shop: tuple[dict[str, str], Path]) -> None:
    env, root = shop

    def bytes_() -> dict[str, bytes]:
        found = sorted((root / "home" / "warehouse" / "predictions").rglob("data.parquet"))
        return {str(path): path.read_bytes() for path in found}

    before = bytes_()
    summary = as_json("run", "--from", "2024-02-11", "--date", LAST, env=env, cwd=root)
    assert summary["trained"] == [] and bytes_() == before


def test_the_outside_contract_finds_nothing_broken(shop: tuple[dict[str, str], Path]) -> None:
    if not CONTRACT.exists():
        pytest.skip(f"{CONTRACT} is not beside this checkout")
    done = subprocess.run(
        [sys.executable, str(CONTRACT), str(shop[1] / "home")], capture_output=True, text=True
    )
    broken = [line for line in done.stdout.splitlines() if line.startswith("BROKEN")]
    # The spine's tables have no rows here: this source has no interactions.
    assert all("has no rows" in line for line in broken), done.stdout


def test_the_benchmark_prints_every_model(shop: tuple[dict[str, str], Path]) -> None:
    env, root = shop
    file = str(root / "source" / "reviews.parquet")
    words = ["--folds", "2", "--group", "item_id", "--models", "tfidf_lr,average_cnn"]
    report = as_json("benchmark", "sentiment", file, *words, env=env, cwd=root)
    assert set(report) >= {"default", "models"} and report["default"] == "average_cnn"
    for each in report["models"].values():
        assert each["lower"] <= each["macro_f1"] <= each["upper"] and each["accuracy"] > 0.8
        assert set(each["f1"]) == {"negative", "neutral", "positive"}
        assert each["reviews_per_second"] > 0
