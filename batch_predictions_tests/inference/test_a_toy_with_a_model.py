"""A prediction with a model, a side table and a plot: the rest of what a declaration gets."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ClassVar, Self

import dagster as dg
import pyarrow as pa
import pytest

from batch_predictions.inference.dagster.io_manager import JsonPathIOManager
from batch_predictions.inference.declaration import BatchPrediction
from batch_predictions.inference.scorer import ScorerContext
from batch_predictions.inference.validation import Check
from batch_predictions.model_store import Decision, ModelStore
from batch_predictions.partitions import newest_ended_week
from batch_predictions.reporting import new_axes
from batch_predictions.settings import InferenceSettings, Settings
from batch_predictions.tables import TABLES, USER_SEGMENTS, Table, columns, declare
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.home import (
    features_asset,
    model_asset,
    prediction_asset,
    raw_asset,
)

LUCK = Table(
    "predictions",
    "luck",
    "A lucky number for everybody.",
    columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: who
        number BIGINT: length of the name, times the model's factor, plus the segments of the day
        model_version VARCHAR: model that scored it
    """),
    key=("user_id",),
)


class LuckyScorer:
    """Luck is a matter of names."""

    version: ClassVar[str] = "1"
    before: ClassVar[list[Callable[[list[str]], object]]] = []
    """Each is called with the names of a batch before it is scored."""

    def __init__(self, factor: int, plus: int) -> None:
        self.factor, self.plus = factor, plus

    @classmethod
    def open(cls, opening: ScorerContext) -> Self:
        assert opening.model is not None
        factor = int((opening.model / "factor.txt").read_text(encoding="utf-8"))
        return cls(factor, opening.lookup_table("segments")["n"][0].as_py())

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        names = rows["user_id"].to_pylist()
        for each in self.before:
            each(names)
        numbers = [len(name) * self.factor + self.plus for name in names]
        return pa.RecordBatch.from_pydict({"user_id": names, "number": numbers})


luck = BatchPrediction(
    table=LUCK,
    key=("user_id",),
    rows="""select user_id from features.user_segments
        where date = $date and length(user_id) >= $model_shortest::BIGINT""",
    lookup_tables={
        "segments": "select count(*) as n from features.user_segments where date = $date"
    },
    scorer=LuckyScorer,
    model="recommender",
    checks=(Check("no_13", "13 is no luck.", "select count(*) from new_rows where number = 13"),),
    plot=lambda warehouse, day: new_axes(f"Luck of {day}")[0],
)

SATURDAY, SUNDAY, MONDAY = "2024-03-09", "2024-03-10", "2024-03-11"


@pytest.fixture(autouse=True)
def _declared() -> Iterator[None]:
    declare(LUCK)
    yield
    del TABLES[LUCK.qualified]


@dataclass(frozen=True)
class World:
    """A home whose users and models a test puts down."""

    settings: Settings

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse.of(self.settings)

    def users(self, day: str, *names: str) -> None:
        self.warehouse.replace_partition(
            USER_SEGMENTS,
            day,
            "select unnest($names::VARCHAR[]) as user_id, 'unknown' as age_bracket, "
            "'unknown' as gender, 'unknown' as location",
            {"names": list(names)},
        )

    def trained(self, through: str, factor: int, shortest: int = 1) -> str:
        """A training whose model serves from its Sunday on; its version."""
        models = ModelStore.of(self.settings)

        def write(folder: Path) -> None:
            (folder / "factor.txt").write_text(str(factor), encoding="utf-8")

        sunday = dt.date.fromisoformat(through)
        version = models.save(
            "recommender",
            sunday,
            write,
            candidate="luck",
            parameters={"shortest": shortest},
            data_version="1",
        ).version
        decision = Decision(
            model="recommender",
            version=version,
            effective_from=sunday,
            decision="promoted",
            why="luckier",
        )
        models.decide(decision)
        return version

    def predict(self, *days: str) -> dg.ExecuteInProcessResult:
        """One run for a day, or for the range from the first to the last."""
        tags = {
            "dagster/asset_partition_range_start": days[0],
            "dagster/asset_partition_range_end": days[-1],
        }
        return dg.materialize(
            [prediction_asset(luck)],
            instance=dg.DagsterInstance.ephemeral(),
            tags=tags,
            resources={
                "settings": self.settings,
                "warehouse": self.warehouse,
                "models": ModelStore.of(self.settings),
                "handles": JsonPathIOManager(home=str(self.settings.home)),
            },
            raise_on_error=False,
        )

    def found(self, day: str) -> dict[str, tuple[int, str]]:
        rows = self.warehouse.query(
            "select user_id, number, model_version from predictions.luck where date = $date",
            {"date": dt.date.fromisoformat(day)},
        ).to_pylist()
        return {row["user_id"]: (row["number"], row["model_version"]) for row in rows}


def in_home(home: Path) -> World:
    engine = InferenceSettings(shard_rows=2, device="cpu", workers=1)
    return World(Settings(home=home, inference=engine))


@pytest.fixture
def world(settings: Settings) -> World:
    return in_home(settings.home)


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What a person reads of a run that failed."""
    assert not result.success
    (event,) = (each for each in result.all_events if each.is_step_failure)
    data = event.step_failure_data
    return str(data.user_failure_data.description if data.user_failure_data else data.error)


def test_each_day_of_a_range_is_scored_by_the_model_that_was_due_then(world: World) -> None:
    older, newer = world.trained("2024-03-03", factor=10), world.trained(SUNDAY, factor=100)
    world.users(SATURDAY, "ann")
    world.users(SUNDAY, "ann", "jo")
    world.users(MONDAY)
    result = world.predict(SATURDAY, SUNDAY, MONDAY)
    assert result.success
    assert world.found(SATURDAY) == {"ann": (31, older)}
    assert world.found(SUNDAY) == {"ann": (302, newer), "jo": (202, newer)}
    # A day without anybody to score is a day like another.
    assert world.found(MONDAY) == {} and MONDAY in world.warehouse.partitions(LUCK)
    shown = {
        event.partition: event.materialization.metadata
        for event in result.get_asset_materialization_events()
    }
    assert {day: each["dagster/partition_row_count"].value for day, each in shown.items()} == {
        SATURDAY: 1,
        SUNDAY: 2,
        MONDAY: 0,
    }
    assert shown[SATURDAY]["model_version"].value == older
    assert {day for day, each in shown.items() if "plot" in each} == {MONDAY}
    assert {day for day, each in shown.items() if "preview" in each} == {MONDAY}


def test_what_the_model_was_trained_with_may_choose_the_rows(world: World) -> None:
    version = world.trained("2024-03-03", factor=10, shortest=3)
    world.users(SATURDAY, "ann", "jo")
    assert world.predict(SATURDAY).success
    assert world.found(SATURDAY) == {"ann": (32, version)}


def test_a_model_that_is_trained_anew_scores_the_day_anew(world: World) -> None:
    world.trained("2024-03-03", factor=10)
    world.users(SATURDAY, "ann")
    assert world.predict(SATURDAY).success
    version = world.trained("2024-03-03", factor=20)
    assert world.predict(SATURDAY).success
    assert world.found(SATURDAY) == {"ann": (61, version)}


def test_days_without_a_model_are_all_named_with_the_weeks_to_train(world: World) -> None:
    world.trained(SUNDAY, factor=1)
    for day in ("2024-03-08", SATURDAY, SUNDAY):
        world.users(day, "ann")
    said = failure(world.predict("2024-03-08", SUNDAY))
    for day in ("2024-03-08", SATURDAY):
        assert f"there for {day}: materialize models/recommender for the week 2024-02-26" in said
    assert f"there for {SUNDAY}" not in said
    assert world.warehouse.partitions(LUCK) == []


def test_days_without_their_upstream_are_all_named_at_once(world: World) -> None:
    world.trained("2024-03-03", factor=1)
    world.users(SATURDAY, "ann")
    said = failure(world.predict(SATURDAY, MONDAY))
    assert f"features/user_segments for {SUNDAY}, {MONDAY}" in said


def test_a_damaged_model_scores_nobody(world: World) -> None:
    version = world.trained("2024-03-03", factor=10)
    world.users(SATURDAY, "ann")
    folder = ModelStore.of(world.settings).folder("recommender", version)
    (folder / "factor.txt").write_text("11", encoding="utf-8")
    assert "is missing or has changed" in failure(world.predict(SATURDAY))


def test_a_check_of_its_own_blocks_every_day_of_the_range(world: World) -> None:
    world.trained("2024-03-03", factor=10)
    for day in (SATURDAY, "2024-03-08"):
        world.users(day, "ann", "jo")
    assert world.predict("2024-03-08", SATURDAY).success
    paths = [world.warehouse.path(LUCK, day) for day in ("2024-03-08", SATURDAY)]
    before = [path.read_bytes() for path in paths]
    world.users("2024-03-08", "ann", "jo", "eve")
    world.users(SATURDAY, "j", "ab", "abc")  # 1 · 10 + 3 = 13
    result = world.predict("2024-03-08", SATURDAY)
    said = failure(result)
    assert f"nothing was replaced, since {SATURDAY} failed no_13" in said
    assert [path.read_bytes() for path in paths] == before
    assert result.get_asset_materialization_events() == []
    checks = {each.check_name: each for each in result.get_asset_check_evaluations()}
    assert checks["accounted"].passed
    assert checks["accounted"].metadata["staged"].value == 6
    assert checks["no_13"].metadata["failing"].value == {SATURDAY: 1}
    assert checks["no_13"].blocking and "what" not in checks["no_13"].metadata


def test_a_days_model_is_the_week_that_ended_by_then_in_the_lineage_too(world: World) -> None:
    asset = prediction_asset(luck)
    upstream = {dg.AssetKey(["features", "user_segments"]), dg.AssetKey(["models", "recommender"])}
    assert set(asset.dependency_keys) == upstream
    mapping = asset.get_partition_mapping(dg.AssetKey(["models", "recommender"]))
    assert mapping == newest_ended_week
    # The whole graph is one that Dagster takes.
    dg.Definitions.validate_loadable(
        dg.Definitions(
            assets=[
                asset,
                features_asset("user_segments"),
                model_asset("recommender"),
                raw_asset("interactions"),
                raw_asset("users"),
                raw_asset("items"),
            ],
            resources={
                "settings": world.settings,
                "warehouse": world.warehouse,
                "models": ModelStore.of(world.settings),
                "handles": JsonPathIOManager(home=str(world.settings.home)),
            },
        )
    )


# --- a crash ------------------------------------------------------------------------------------

NAMES = ("a", "bb", "ccc", "dddd", "eeeee", "ffffff", "ggggggg", "hhhhhhhh")


def predict_half(home: Path, half: Connection) -> None:
    """Predicts a day in a process of its own, and stops for ever before the third shard of four."""

    def before(names: list[str]) -> None:
        if "eeeee" in names:
            half.send(os.getpid())
            threading.Event().wait()

    LuckyScorer.before.append(before)
    declare(LUCK)
    in_home(home).predict(SATURDAY)


def test_after_a_crash_at_half_the_rest_is_scored_and_nothing_tells_the_difference(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = in_home(tmp_path / "undisturbed")
    for each in (world, undisturbed):
        each.trained("2024-03-03", factor=10)
        each.users(SATURDAY, *NAMES)
    assert undisturbed.predict(SATURDAY).success
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["batch_predictions.inference.dagster.assets"])
    half, theirs = context.Pipe(duplex=False)
    process = context.Process(target=predict_half, args=(world.settings.home, theirs))
    process.start()
    theirs.close()
    os.kill(half.recv(), signal.SIGKILL)
    process.join()
    half.close()
    results = world.settings.home / "inference" / "luck" / SATURDAY / "results"
    assert len(list(results.iterdir())) == 2
    assert world.warehouse.partitions(LUCK) == []

    scored: list[str] = []
    monkeypatch.setattr(LuckyScorer, "before", [scored.extend])
    assert world.predict(SATURDAY).success
    assert scored == list(NAMES[4:])
    wanted = undisturbed.warehouse.path(LUCK, SATURDAY).read_bytes()
    assert world.warehouse.path(LUCK, SATURDAY).read_bytes() == wanted
    assert not [path for path in results.iterdir() if path.name.startswith(".")]
