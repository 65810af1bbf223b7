"""The contest: a real pattern wins, noise does not, and small data never breaks it."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.data import Interactions
from batch_predictions.models.recommender.selection import BASELINES, Selection, select

THROUGH = date(2024, 3, 31)
ML = Path(__file__).parents[3] / "shared/data/movielens_100k/ml-100k.inter"


def table(users: list[str], items: list[str], days: list[date]) -> pa.Table:
    return pa.table({"user_id": users, "item_id": items, "date": days, "events": [1] * len(users)})


def colours(seed: int = 0, users: int = 60, items: int = 30, loyal: bool = True) -> Interactions:
    """Users take squares of their colour (or any, if not loyal) over 40 days."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        for day in range(40):
            item = int(random.integers(items // 2)) * 2 + user % 2
            item = item if loyal else int(random.integers(items))
            rows.append((f"u{user:02}", f"i{item:02}", THROUGH - timedelta(days=day)))
    return Interactions.from_table(table(*map(list, zip(*rows, strict=True))))


def check(selection: Selection) -> None:
    keys = [(row["candidate"], row["metric"]) for row in selection.metrics]
    assert len(keys) == len(set(keys))
    for row in selection.metrics:
        assert row["value"] is not None
        if row["lower"] is not None:
            assert row["lower"] <= row["value"] <= row["upper"]
    assert selection.model.name == selection.chosen
    assert selection.why.endswith(".") and selection.chosen in selection.why


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_a_personal_pattern_is_promoted(exclude_seen: bool):
    lines: list[str] = []
    selection = select(colours(), THROUGH, exclude_seen=exclude_seen, seed=0, progress=lines.append)
    check(selection)
    assert selection.beats_baseline and selection.chosen in {"als", "ease"}
    assert selection.split == "time" and "95 % interval" in selection.why
    assert len(lines) == 7 and lines[-1].startswith(f"fitting {selection.chosen}")
    # The winner has learned again from the days of the contest as well.
    assert len(selection.model.items) == 30
    assert {row["candidate"] for row in selection.metrics} == {"als", "ease", *BASELINES}


def test_noise_is_not_promoted():
    selection = select(colours(loyal=False), THROUGH, exclude_seen=False, seed=0)
    check(selection)
    assert not selection.beats_baseline and selection.chosen in BASELINES


def test_rows_after_the_training_day_are_not_looked_at():
    rows = colours()
    early = THROUGH - timedelta(days=10)
    one = select(rows, early, exclude_seen=False, seed=0)
    two = select(rows.up_to(early), early, exclude_seen=False, seed=0)
    assert one.metrics == two.metrics and one.why == two.why
    np.testing.assert_array_equal(one.model.targets(), two.model.targets())


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path):
    for name in ("a", "b"):
        select(colours(), THROUGH, exclude_seen=True, seed=3).model.save(tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_parameters_reach_their_candidate():
    selection = select(
        colours(),
        THROUGH,
        candidates=["ease"],
        exclude_seen=False,
        seed=0,
        params={"ease": {"max_items": 12}},
    )
    assert selection.chosen == "ease" and len(selection.model.items) == 12
    with pytest.raises(ValueError, match="svd"):
        select(colours(), THROUGH, candidates=["svd"], exclude_seen=False, seed=0)


THREE = (["a", "b", "c"] * 3, ["x", "y", "z", "y", "z", "x", "z", "x", "y"])
SMALL = {
    "one row": table(["a"], ["x"], [THROUGH]),
    "one day": table(*THREE, [THROUGH] * 9),
    "three days": table(*THREE, [THROUGH - timedelta(days=10 * (i // 3)) for i in range(9)]),
    "only the hold-out": table(*THREE, [THROUGH - timedelta(days=i // 3) for i in range(9)]),
    "nobody came back": table(["a", "b"], ["x", "y"], [THROUGH - timedelta(days=30), THROUGH]),
    "only the same again": table(["a"] * 2, ["x"] * 2, [THROUGH - timedelta(days=30), THROUGH]),
    "long ago": table(["a", "b"], ["x", "y"], [date(2020, 1, 1), date(2020, 1, 2)]),
}


@pytest.mark.parametrize("exclude_seen", [False, True])
@pytest.mark.parametrize("world", sorted(SMALL))
def test_small_data_is_enough(world: str, exclude_seen: bool):
    interactions = Interactions.from_table(SMALL[world])
    selection = select(interactions, THROUGH, exclude_seen=exclude_seen, seed=0)
    check(selection)
    if world not in ("one day", "three days", "only the same again"):
        assert "nothing could be measured" in selection.why and selection.metrics == []
    if world == "one day":
        assert selection.split == "leave_out" and selection.metrics
    if world == "only the same again":
        assert ("none took anything new" in selection.why) == exclude_seen


def test_nothing_to_learn_from_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="no interactions up to 2019"):
        select(colours(), date(2019, 1, 1), exclude_seen=False, seed=0)


@pytest.mark.real_data
@pytest.mark.skipif(not ML.exists(), reason="MovieLens 100K is not beside the checkout")
def test_movielens_films_are_ranked_as_well_as_is_known():
    rows = np.loadtxt(ML, skiprows=1, dtype=str, delimiter="\t")
    days = rows[:, 3].astype(np.int64).astype("datetime64[s]").astype("datetime64[D]")
    films = Interactions.from_table(
        pa.table(
            {"user_id": rows[:, 0], "item_id": rows[:, 1], "date": days, "events": [1] * len(rows)}
        )
    )
    selection = select(films, date(1998, 4, 22), exclude_seen=True, holdout_days=22, seed=0)
    check(selection)
    ndcgs = {
        row["candidate"]: row["value"] for row in selection.metrics if row["metric"] == "ndcg@10"
    }
    assert ndcgs["als"] > 0.18 and ndcgs["ease"] > 0.17
    assert ndcgs["recency_popularity_14d"] > 0.2 > ndcgs["popularity"]
    assert selection.chosen.startswith("recency_popularity")
