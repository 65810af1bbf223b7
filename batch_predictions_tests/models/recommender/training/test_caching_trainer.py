"""A training takes what an earlier one made of equal rows, and gives the same model as without."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.common.training_cache import TrainingCache
from batch_predictions.models.recommender import recommender_selection
from batch_predictions.models.recommender.combined_evaluation import TWO_STAGE
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.recommender_selection import Selection, select
from batch_predictions.models.recommender.training.caching_trainer import CachingTrainer
from batch_predictions.models.recommender.training.config import NoSideInformation, TwoStageConfig
from batch_predictions.models.recommender.training.trainer import RankerTrainer

SUNDAY = date(2024, 3, 31)
NEXT = SUNDAY + timedelta(days=7)
CONFIG = TwoStageConfig(
    exclude_seen=False,
    history_days=42,
    generators=("ease", "segment_taste", "own_history"),
    max_labelled_users=100,
    ranker_params={"rounds": 8},
    threads=1,
)


@dataclass(frozen=True)
class Shop(NoSideInformation):
    """Users and items; of more users and items than have rows."""

    brands: int = 10
    more: int = 0

    def users(self, as_of: date) -> pa.Table:
        ids = [f"u{user:02}" for user in range(50 + self.more)]
        brackets = ["18-24", "35-44"] * len(ids)
        columns = {"user_id": ids, "age_bracket": brackets[: len(ids)]}
        nulls = pa.nulls(len(ids), pa.string())
        return pa.table({**columns, "gender": nulls, "location": nulls})

    def items(self) -> pa.Table:
        ids = [f"i{item:02}" for item in range(60 + self.more)]
        return pa.table({"item_id": ids, "brand": [f"b{int(i[1:]) % self.brands}" for i in ids]})


def days_of_tastes(through: date, days: int = 120) -> Interactions:
    """Every user takes its own 14 items in turn, one a day."""
    random = np.random.default_rng(0)
    rows = []
    for user in range(50):
        own = random.permutation(60)[:14]
        for age in range(days + 7):
            day = NEXT - timedelta(days=age)
            if day <= through:
                rows.append((f"u{user:02}", f"i{own[-age % 14]:02}", day, 1.0))
    names = ("user_id", "item_id", "date", "events")
    columns = map(list, zip(*rows, strict=True))
    return Interactions.from_table(pa.table(dict(zip(names, columns, strict=True))))


@dataclass
class Week:
    """One training, what it said, and the bytes of its model."""

    folder: Path
    lines: list[str] = field(default_factory=list)

    def train(
        self,
        through: date,
        cache: Path | None,
        rows: Interactions | None = None,
        shop: Shop | None = None,
        config: TwoStageConfig = CONFIG,
    ) -> Selection:
        trainer = RankerTrainer(config, shop or Shop(), self.lines.append)
        parts = TrainingCache(cache)
        rows = days_of_tastes(through) if rows is None else rows
        selected = select(rows, through, CachingTrainer.of(trainer, parts))
        parts.remove_unused()
        selected.model.save(self.folder)
        return selected

    @property
    def contents(self) -> dict[str, bytes]:
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}

    def made(self) -> list[int]:
        """How many sets of generators, and how many rankers, were fitted."""
        starts = ("fitting ease", "training the ranker")
        return [sum(line.startswith(start) for line in self.lines) for start in starts]


@pytest.fixture(scope="module")
def first_week(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the training through a Sunday, and what it keeps."""
    folder = tmp_path_factory.mktemp("first_week")
    first = Week(folder / "first")
    first.train(SUNDAY, folder / "cache")
    # Two windows each have 100 users: evaluated, hold-out, and two for serving, one of them known.
    assert first.made() == [4, 2]
    return folder


@pytest.fixture
def cache(first_week: Path, tmp_path: Path) -> Path:
    """What the training through a Sunday keeps; each test has a copy."""
    shutil.copytree(first_week, tmp_path, dirs_exist_ok=True)
    return tmp_path / "cache"


def assert_equal_to_a_training_without(
    tmp_path: Path, cache: Path, made: list[int], **changes: object
) -> None:
    alone, week = Week(tmp_path / "alone"), Week(tmp_path / "week")
    expected = alone.train(NEXT, None, **changes)  # type: ignore[arg-type]
    assert expected.candidate == TWO_STAGE
    found = week.train(NEXT, cache, **changes)  # type: ignore[arg-type]
    assert alone.contents == week.contents
    assert repr(found.metrics) == repr(expected.metrics) and found.why == expected.why
    assert alone.made() == [4, 2] and week.made() == made


def test_a_week_later_one_set_of_generators_and_one_ranker_are_new(
    tmp_path: Path, cache: Path
) -> None:
    assert_equal_to_a_training_without(tmp_path, cache, [1, 1])
    kept = sorted(path.name.split("-")[0] for path in cache.iterdir())
    assert kept == ["dataset", "dataset", "generators", "ranker"]


def test_new_users_and_items_without_rows_make_no_difference(tmp_path: Path, cache: Path) -> None:
    assert_equal_to_a_training_without(tmp_path, cache, [1, 1], shop=Shop(more=3))


def test_a_changed_attribute_labels_candidates_again(tmp_path: Path, cache: Path) -> None:
    # None of these generators reads it; those of windows were not kept.
    assert_equal_to_a_training_without(tmp_path, cache, [3, 2], shop=Shop(brands=3))


@pytest.mark.parametrize(
    ("names", "fits"), [(("ease", "sequence"), [1, 1, 2]), (("ease",), [1] * 3)]
)
def test_a_changed_attribute_fits_generators_that_read_it_again(
    names: tuple[str, ...], fits: list[int]
) -> None:
    params = {"sequence": {"minutes": 0.001, "width": 4}}
    config = replace(CONFIG, exclude_seen=True, generators=names, generator_params=params)
    rows, cache = days_of_tastes(SUNDAY), TrainingCache()
    lines: list[str] = []
    for shop, number in zip((Shop(), Shop(more=3), Shop(brands=3)), fits, strict=True):
        CachingTrainer(config, shop, lines.append, cache=cache).fit_generators(rows, SUNDAY)
        assert sum(line.startswith("fitting ease") for line in lines) == number


def test_a_corrected_day_makes_again_what_reads_it(tmp_path: Path, cache: Path) -> None:
    rows = days_of_tastes(NEXT)
    events = np.where(rows.dates == np.datetime64(SUNDAY, "D"), 2.0, rows.events)
    corrected = replace(rows, events=events)
    # The last day of the hold-out's generators; the older windows end before it.
    assert_equal_to_a_training_without(tmp_path, cache, [2, 1], rows=corrected)


def test_other_parameters_make_all_again(tmp_path: Path, cache: Path) -> None:
    config = replace(CONFIG, generator_params={"ease": {"max_items": 50}})
    assert_equal_to_a_training_without(tmp_path, cache, [4, 2], config=config)


def test_other_parameters_of_trees_train_the_ranker_again(tmp_path: Path, cache: Path) -> None:
    config = replace(CONFIG, ranker_params={"rounds": 9})
    assert_equal_to_a_training_without(tmp_path, cache, [1, 2], config=config)


def test_a_damaged_part_is_made_again(tmp_path: Path, cache: Path) -> None:
    for file in cache.glob("*/features.parquet"):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    assert_equal_to_a_training_without(tmp_path, cache, [3, 1])


def test_where_a_baseline_serves_only_the_hold_out_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recommender_selection, "_passes", lambda gains: False)
    first, week = Week(tmp_path / "first"), Week(tmp_path / "week")
    assert first.train(SUNDAY, tmp_path / "cache").candidate != TWO_STAGE
    week.train(NEXT, tmp_path / "cache")
    # Of the hold-out and of both windows; a week later the first hold-out is a window.
    assert first.made()[0] == 3 and week.made()[0] == 1


def test_the_same_week_again_gives_the_same_model(tmp_path: Path, cache: Path) -> None:
    again = Week(tmp_path / "again")
    again.train(SUNDAY, cache)
    assert again.contents == Week(tmp_path / "first").contents
