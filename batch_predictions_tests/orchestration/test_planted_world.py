"""A world whose truth is planted: the whole pipeline, from files to lists, has to find it.

Everyone has a taste that no table names; what they take mostly follows it. Ages lean to tastes,
genders do not. On the last day the best-sellers of every taste are out of stock.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_predictions_tests.worlds.retail_fixtures import environment, run_json

pytestmark = pytest.mark.slow

SUNDAY, MONDAY = dt.date(2024, 3, 17), dt.date(2024, 3, 18)
DAYS, USERS, ITEMS, TASTES = 28, 240, 100, 4
AGES = (22, 30, 50, 70)
BRACKETS = ("19-24", "25-34", "45-54", "65+")
TRUE_TO_TASTE = 0.85
TRUE_TO_AGE = 0.75
UNAVAILABLE_PER_TASTE = 3
"""Best-sellers of each taste that run out."""


@dataclass
class World:
    """Which taste is whose, and the home in which it was run."""

    taste_of_user: dict[str, int]
    taste_of_item: dict[str, int]
    best_sellers: set[str]
    home: Path

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Rows of a query over the analysts' views."""
        with duckdb.connect(str(self.home / "warehouse.duckdb"), read_only=True) as db:
            return db.execute(sql).fetchall()

    def lists(self, day: dt.date, k: int) -> dict[str, list[str]]:
        """The k best items of every user."""
        rows = self.query(
            "select user_id, list(item_id order by rank) from predictions.recommendations "
            f"where date = '{day}' and rank <= {k} group by user_id"
        )
        return dict(rows)  # type: ignore[arg-type]

    def fallback(self, level: str, column: str, day: dt.date, k: int) -> dict[str, list[str]]:
        """The k best items of every segment of a level."""
        rows = self.query(
            f"select {column}, list(item_id order by rank) "
            "from predictions.demographic_recommendations "
            f"where date = '{day}' and segment_level = '{level}' and rank <= {k} group by 1"
        )
        return dict(rows)  # type: ignore[arg-type]

    def true_to(self, taste: int, items: list[str]) -> float:
        """The share of items that are of a taste."""
        return float(np.mean([self.taste_of_item[item] == taste for item in items]))


def write_world(source: Path, seed: int = 0) -> World:
    """Draw it. Ids are in an order that says nothing of tastes."""
    random = np.random.default_rng(seed)
    item_ids = [f"i{n:03d}" for n in random.permutation(ITEMS)]
    of_taste = [item_ids[taste::TASTES] for taste in range(TASTES)]
    age_of = random.integers(0, len(AGES), USERS)
    leans = random.random(USERS) < TRUE_TO_AGE
    tastes = np.where(leans, age_of, random.integers(0, TASTES, USERS))
    odds = 1.0 / (np.arange(ITEMS // TASTES) + 3.0)
    odds /= odds.sum()
    rows = []
    for user, taste in enumerate(tastes.tolist()):
        for _ in range(int(random.integers(12, 22))):
            from_own_taste = random.random() < TRUE_TO_TASTE
            shelf = of_taste[taste if from_own_taste else int(random.integers(0, TASTES))]
            day = SUNDAY - dt.timedelta(days=int(random.integers(0, DAYS)))
            item = shelf[int(random.choice(len(shelf), p=odds))]
            rows.append({"user_id": f"u{user:03d}", "item_id": item, "date": day})
    # Somebody takes something on Monday, or the source would end on Sunday.
    rows.append({"user_id": "u000", "item_id": of_taste[0][-1], "date": MONDAY})
    source.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), source / "interactions.parquet")
    people = [
        {"user_id": f"u{user:03d}", "age": AGES[age], "gender": "fm"[random.integers(0, 2)]}
        for user, age in enumerate(age_of.tolist())
    ]
    pq.write_table(pa.Table.from_pylist(people), source / "users.parquet")
    stock(source, item_ids, set())
    return World(
        {f"u{user:03d}": taste for user, taste in enumerate(tastes.tolist())},
        {item: taste for taste, items in enumerate(of_taste) for item in items},
        {item for items in of_taste for item in items[:UNAVAILABLE_PER_TASTE]},
        source.parent / "home",
    )


def stock(source: Path, items: list[str], unavailable: set[str]) -> None:
    """Writes what there is of all items."""
    goods = [{"item_id": item, "available": item not in unavailable} for item in sorted(items)]
    pq.write_table(pa.Table.from_pylist(goods), source / "items.parquet")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run on a Sunday with everything in stock, and on Monday with the best-sellers gone."""
    root = tmp_path_factory.mktemp("planted")
    made = write_world(root / "source")
    env = environment(
        made.home,
        root / "source",
        BATCH_PREDICTIONS_RECOMMENDATIONS__K="10",
        BATCH_PREDICTIONS_RECOMMENDER__LESSON_USERS="200",
    )
    run_json("run", "--date", str(SUNDAY), env=env, cwd=root)
    stock(root / "source", list(made.taste_of_item), made.best_sellers)
    run_json("run", "--date", str(MONDAY), env=env, cwd=root)
    yield made


def test_everyone_is_offered_their_taste_far_more_often_than_popularity_would(world: World) -> None:
    lists = world.lists(SUNDAY, 10)
    assert len(lists) == USERS
    (popular,) = world.fallback("everyone", "segment_level", SUNDAY, 10).values()
    personal = [world.true_to(world.taste_of_user[user], items) for user, items in lists.items()]
    by_popularity = [world.true_to(taste, popular) for taste in world.taste_of_user.values()]
    # A list of one taste alone is what is right; popularity is a mixture of four.
    assert np.mean(by_popularity) < 0.4
    assert np.mean(personal) > 0.85
    assert np.mean([share > 0.5 for share in personal]) > 0.95


def test_the_gate_found_that_taste_beats_every_popularity(world: World) -> None:
    rows = world.query(
        "select candidate, value, lower, upper from evaluation.model_metrics "
        "where model = 'recommender' and metric = 'ndcg@10'"
    )
    figures = {str(name): values for name, *values in rows}
    popular = max(float(v[0]) for name, v in figures.items() if "popularity" in name)  # type: ignore[arg-type]
    best = max(figures.values(), key=lambda values: float(values[0]))  # type: ignore[arg-type]
    assert float(best[1]) > 1.3 * popular  # type: ignore[arg-type]
    ((served,),) = world.query(
        "select model_version from predictions.recommendations where date = '2024-03-17' limit 1"
    )
    assert "popularity" not in str(served)


def test_the_fallback_gives_each_age_its_favourites(world: World) -> None:
    by_age = world.fallback("age", "age_bracket", SUNDAY, 8)
    assert set(by_age) == set(BRACKETS)
    for taste, bracket in enumerate(BRACKETS):
        assert world.true_to(taste, by_age[bracket]) >= 0.75, bracket
    # Genders were drawn without regard to taste: their lists are mixtures.
    for items in world.fallback("gender", "gender", SUNDAY, 8).values():
        assert max(world.true_to(taste, items) for taste in range(TASTES)) <= 0.5


def test_unavailable_items_are_no_longer_recommended(world: World) -> None:
    def offered(day: dt.date) -> set[str]:
        tables = ("recommendations", "demographic_recommendations")
        subqueries = " union ".join(
            f"select item_id from predictions.{table} where date = '{day}'" for table in tables
        )
        return {str(item) for (item,) in world.query(subqueries)}

    assert world.best_sellers <= offered(SUNDAY)
    assert not world.best_sellers & offered(MONDAY)
    # Taste, not stock alone, still decides.
    lists = world.lists(MONDAY, 10)
    assert len(lists) == USERS
    shares = [world.true_to(world.taste_of_user[user], items) for user, items in lists.items()]
    assert np.mean(shares) > 0.8
