"""A source that has only reviews, from ingest to lookup; a planted change is detected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from batch_predictions_tests.worlds.contract import contract_violations
from batch_predictions_tests.worlds.retail_fixtures import environment, run_command, run_json
from batch_predictions_tests.worlds.reviews import CHANGED_ITEM, GERMAN_TEXT, write_reviews

pytestmark = pytest.mark.slow

LAST_DAY = "2024-02-18"
LAST_WEEK = "2024-02-12"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], Path]]:
    """Environment and folder of a home with seven weeks of reviews, run up to two Sundays."""
    root = tmp_path_factory.mktemp("reviews")
    write_reviews(root / "source")
    env = environment(
        root / "home",
        root / "source",
        BATCH_PREDICTIONS_SENTIMENT__CANDIDATES='["nb_lr", "cnn"]',
        BATCH_PREDICTIONS_SENTIMENT__ASPECT_REVIEWS="2",
        BATCH_PREDICTIONS_SENTIMENT__OPTIONS='{"epochs": 3, "width": 16, "size": 16, "rate": 0.01}',
    )
    summary = run_json("run", "--from", "2024-02-11", "--date", LAST_DAY, env=env, cwd=root)
    assert summary["skipped"] == [
        "churn_scores, demand_forecasts, demographic_recommendations, lead_time_demand, "
        "promotion_audience, recommendations, replenishment_orders, retention_audience: the source "
        "has no interactions"
    ]
    assert summary["rows"]["item_sentiments"] == 12
    yield env, root


def _query(root: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(root / "home" / "warehouse.duckdb"), read_only=True) as db:
        return db.execute(sql).fetchall()


def test_only_the_changed_item_is_marked_in_its_week(
    shop: tuple[dict[str, str], Path],
) -> None:
    rows = _query(
        shop[1],
        "select week::VARCHAR, item_id, change < -0.5 from predictions.item_sentiments "
        "where changed order by all",
    )
    assert rows == [(LAST_WEEK, CHANGED_ITEM, True)]
    assert _query(shop[1], "select count(*) from predictions.item_sentiments") == [(24,)]


def test_aspects_are_the_planted_words_in_the_right_direction(
    shop: tuple[dict[str, str], Path],
) -> None:
    rows = _query(shop[1], "select term, direction from predictions.aspects")
    planted = {
        "up": {"great", "lovely", "perfect", "tasty", "works"},
        "down": {"awful", "broken", "useless", "leaking", "taste"},
    }
    is_right = [
        bool(set(str(term).split()) & planted[str(direction)])
        for term, direction in rows
        if set(str(term).split()) & (planted["up"] | planted["down"])
    ]
    assert len(is_right) >= 10 and sum(is_right) / len(is_right) > 0.9


def test_texts_in_another_language_are_excluded_with_their_language(
    shop: tuple[dict[str, str], Path],
) -> None:
    _, root = shop
    [(excluded, reason)] = _query(
        root,
        "select count(*), min(reason) from predictions.exclusions where table_name = "
        "'review_sentiments'",
    )
    [(german,)] = _query(
        root,
        f"select count(*) from raw.reviews where text = '{GERMAN_TEXT}' and date >= '2024-02-05' "
        f"and date <= '{LAST_DAY}'",
    )
    assert excluded == german and "language de" in str(reason)
    # The items say so too.
    [(counted, why)] = _query(
        root,
        "select sum(reviews_not_scored)::BIGINT, max(not_scored) from predictions.item_sentiments",
    )
    assert counted == german and str(why).endswith("in de")


def test_a_lookup_returns_shares_change_terms_and_examples(
    shop: tuple[dict[str, str], Path],
) -> None:
    env, root = shop
    answer = run_json("lookup", "sentiment", CHANGED_ITEM, env=env, cwd=root)
    assert answer["week"] == LAST_WEEK and answer["sentiment"]["changed"] in (True, 1)
    assert answer["sentiment"]["simulated"] in (False, 0)
    assert answer["examples"][0]["sentiment"] == "negative"
    text = run_command("lookup", "sentiment", CHANGED_ITEM, env=env, cwd=root).stdout
    assert "net sentiment -" in text and "marked as changed" in text
    assert "no review" in run_command("lookup", "sentiment", "unknown", env=env, cwd=root).stdout


def test_all_candidates_are_measured_with_the_baseline_tfidf(
    shop: tuple[dict[str, str], Path],
) -> None:
    env, root = shop
    metrics = run_json("models", "metrics", "sentiment", env=env, cwd=root)
    assert {row["candidate"] for row in metrics} == {"tfidf_lr", "nb_lr", "cnn"}
    assert all(
        row["lower"] <= row["value"] <= row["upper"] for row in metrics if row["lower"] is not None
    )


def test_a_second_run_changes_nothing(shop: tuple[dict[str, str], Path]) -> None:
    env, root = shop

    def prediction_files() -> dict[str, bytes]:
        files = sorted((root / "home" / "warehouse" / "predictions").rglob("data.parquet"))
        return {str(path): path.read_bytes() for path in files}

    files_before = prediction_files()
    summary = run_json(
        "run", "--force", "--from", "2024-02-11", "--date", LAST_DAY, env=env, cwd=root
    )
    assert summary["trained"] == [] and prediction_files() == files_before


def test_the_home_fulfils_the_external_contract(shop: tuple[dict[str, str], Path]) -> None:
    violations = contract_violations(shop[1] / "home")
    # Tables that need interactions have no rows.
    assert all("has no rows" in line for line in violations), violations


def test_the_benchmark_reports_every_model(shop: tuple[dict[str, str], Path]) -> None:
    env, root = shop
    file = str(root / "source" / "reviews.parquet")
    words = ["--folds", "2", "--group", "item_id", "--models", "tfidf_lr,average_cnn"]
    report = run_json("benchmark", "sentiment", file, *words, env=env, cwd=root)
    assert set(report) >= {"default", "models", "chosen"} and sum(report["chosen"].values()) == 2
    assert report["default"] == max(report["chosen"], key=report["chosen"].get)
    for figures in report["models"].values():
        assert figures["lower"] <= figures["macro_f1"] <= figures["upper"]
        assert figures["accuracy"] > 0.8
        assert set(figures["f1"]) == {"negative", "neutral", "positive"}
        assert figures["reviews_per_second"] > 0
