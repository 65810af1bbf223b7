"""The asset of a prediction with a model, a lookup table and a plot."""

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

from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.scorer import ScorerContext
from batch_predictions.inference.validation import Check
from batch_predictions.models.model_store import Decision, ModelStore
from batch_predictions.settings import InferenceSettings, Settings
from batch_predictions.tables import TABLES, USER_SEGMENTS, Table, columns, declare
from batch_predictions.tables.partitions import newest_ended_week
from batch_predictions.warehouse import Warehouse
from batch_predictions.warehouse.plot_style import new_axes
from batch_predictions_tests.worlds.home import (
    asset_resources,
    features_asset,
    materialize,
    model_asset,
    prediction_asset,
    raw_asset,
)

LUCK = Table(
    "predictions",
    "luck",
    "A lucky number for every user.",
    columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: user
        number BIGINT: length of the name, times the model's factor, plus the segments of the day
        model_version VARCHAR: model that scored it
    """),
    key=("user_id",),
)


class LuckyScorer:
    """Numbers from the lengths of names."""

    version: ClassVar[str] = "1"
    hooks: ClassVar[list[Callable[[list[str]], object]]] = []
    """Called with the names of a batch before it is scored."""

    def __init__(self, factor: int, offset: int) -> None:
        self.factor, self.offset = factor, offset

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        assert context.model is not None
        factor = int((context.model / "factor.txt").read_text(encoding="utf-8"))
        return cls(factor, context.lookup_table("segments")["n"][0].as_py())

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        names = rows["user_id"].to_pylist()
        for hook in self.hooks:
            hook(names)
        numbers = [len(name) * self.factor + self.offset for name in names]
        return pa.RecordBatch.from_pydict({"user_id": names, "number": numbers})


luck = BatchPrediction(
    table=LUCK,
    key=("user_id",),
    rows="""select user_id from features.user_segments
        where date = $date and length(user_id) >= $model_min_length::BIGINT""",
    lookup_tables={
        "segments": "select count(*) as n from features.user_segments where date = $date"
    },
    scorer=LuckyScorer,
    model="recommender",
    checks=(Check("no_13", "No number is 13.", "select count(*) from new_rows where number = 13"),),
    plot=lambda warehouse, day: new_axes(f"Luck of {day}")[0],
)

SATURDAY, SUNDAY, MONDAY = "2024-03-09", "2024-03-10", "2024-03-11"


@pytest.fixture(autouse=True)
def _declare_table() -> Iterator[None]:
    declare(LUCK)
    yield
    del TABLES[LUCK.qualified]


@dataclass(frozen=True)
class LuckHome:
    """A home with users and models that a test writes."""

    settings: Settings

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse.of(self.settings)

    def write_users(self, day: str, *names: str) -> None:
        self.warehouse.replace_partition(
            USER_SEGMENTS,
            day,
            "select unnest($names::VARCHAR[]) as user_id, 'unknown' as age_bracket, "
            "'unknown' as gender, 'unknown' as location",
            {"names": list(names)},
        )

    def write_model(self, through: str, factor: int, min_length: int = 1) -> str:
        """Stores a model that serves from a Sunday on; returns its version."""
        models = ModelStore.of(self.settings)

        def write(folder: Path) -> None:
            (folder / "factor.txt").write_text(str(factor), encoding="utf-8")

        sunday = dt.date.fromisoformat(through)
        version = models.save(
            "recommender",
            sunday,
            write,
            candidate="luck",
            parameters={"min_length": min_length},
            data_version="1",
        ).version
        decision = Decision(
            model="recommender",
            version=version,
            effective_from=sunday,
            decision="promoted",
            why="better",
        )
        models.decide(decision)
        return version

    def predict(self, *days: str) -> dg.ExecuteInProcessResult:
        """Materializes a day, or the range from the first to the last day."""
        return materialize([prediction_asset(luck)], self.settings, *days)

    def predictions(self, day: str) -> dict[str, tuple[int, str]]:
        rows = self.warehouse.query(
            "select user_id, number, model_version from predictions.luck where date = $date",
            {"date": dt.date.fromisoformat(day)},
        ).to_pylist()
        return {row["user_id"]: (row["number"], row["model_version"]) for row in rows}


def open_home(home: Path) -> LuckHome:
    inference = InferenceSettings(shard_rows=2, device="cpu", workers=1)
    return LuckHome(Settings(home=home, inference=inference))


@pytest.fixture
def home(settings: Settings) -> LuckHome:
    return open_home(settings.home)


def failure_message(result: dg.ExecuteInProcessResult) -> str:
    """The message of the failed step."""
    assert not result.success
    (event,) = (event for event in result.all_events if event.is_step_failure)
    data = event.step_failure_data
    return str(data.user_failure_data.description if data.user_failure_data else data.error)


def test_every_day_of_a_range_is_scored_by_the_model_that_served_it(home: LuckHome) -> None:
    older, newer = home.write_model("2024-03-03", factor=10), home.write_model(SUNDAY, factor=100)
    home.write_users(SATURDAY, "ann")
    home.write_users(SUNDAY, "ann", "jo")
    home.write_users(MONDAY)
    result = home.predict(SATURDAY, SUNDAY, MONDAY)
    assert result.success
    assert home.predictions(SATURDAY) == {"ann": (31, older)}
    assert home.predictions(SUNDAY) == {"ann": (302, newer), "jo": (202, newer)}
    # A day without rows to score gets an empty partition.
    assert home.predictions(MONDAY) == {} and MONDAY in home.warehouse.partitions(LUCK)
    metadata = {
        event.partition: event.materialization.metadata
        for event in result.get_asset_materialization_events()
    }
    assert {
        day: values["dagster/partition_row_count"].value for day, values in metadata.items()
    } == {
        SATURDAY: 1,
        SUNDAY: 2,
        MONDAY: 0,
    }
    assert metadata[SATURDAY]["model_version"].value == older
    for day, week, decided in [
        (SATURDAY, "2024-02-26", "2024-03-03"),
        (MONDAY, "2024-03-04", SUNDAY),
    ]:
        assert metadata[day]["model"].value == dg.AssetKey(["models", "recommender"])
        assert metadata[day]["model_week"].value == week
        assert metadata[day]["model_decision"].value == f"promoted on {decided}: better"
        # The test has written the models, not a run.
        assert "model_training_run" not in metadata[day]
    column_lineage = metadata[MONDAY]["dagster/column_lineage"].value
    assert isinstance(column_lineage, dg.TableColumnLineage)
    lineage = column_lineage.deps_by_column
    segments = dg.AssetKey(["features", "user_segments"])
    assert lineage["user_id"] == [dg.TableColumnDep(segments, "user_id")]
    assert {day for day, values in metadata.items() if "plot" in values} == {MONDAY}
    assert {day for day, values in metadata.items() if "preview" in values} == {MONDAY}


def test_sql_binds_the_parameters_of_the_model(home: LuckHome) -> None:
    version = home.write_model("2024-03-03", factor=10, min_length=3)
    home.write_users(SATURDAY, "ann", "jo")
    assert home.predict(SATURDAY).success
    assert home.predictions(SATURDAY) == {"ann": (32, version)}


def test_a_new_model_version_scores_the_day_again(home: LuckHome) -> None:
    home.write_model("2024-03-03", factor=10)
    home.write_users(SATURDAY, "ann")
    assert home.predict(SATURDAY).success
    version = home.write_model("2024-03-03", factor=20)
    assert home.predict(SATURDAY).success
    assert home.predictions(SATURDAY) == {"ann": (61, version)}


def test_all_days_without_a_model_are_named_with_the_weeks_to_train(home: LuckHome) -> None:
    home.write_model(SUNDAY, factor=1)
    for day in ("2024-03-08", SATURDAY, SUNDAY):
        home.write_users(day, "ann")
    message = failure_message(home.predict("2024-03-08", SUNDAY))
    for day in ("2024-03-08", SATURDAY):
        assert (
            f"of recommender for {day}: materialize models/recommender for the week 2024-02-26"
            in message
        )
    assert f"there for {SUNDAY}" not in message
    assert home.warehouse.partitions(LUCK) == []


def test_all_days_without_an_upstream_are_named(home: LuckHome) -> None:
    home.write_model("2024-03-03", factor=1)
    home.write_users(SATURDAY, "ann")
    message = failure_message(home.predict(SATURDAY, MONDAY))
    assert f"features/user_segments for {SUNDAY}, {MONDAY}" in message


def test_a_damaged_model_fails_the_run(home: LuckHome) -> None:
    version = home.write_model("2024-03-03", factor=10)
    home.write_users(SATURDAY, "ann")
    folder = ModelStore.of(home.settings).folder("recommender", version)
    (folder / "factor.txt").write_text("11", encoding="utf-8")
    assert "is missing or has changed" in failure_message(home.predict(SATURDAY))


def test_a_declared_check_blocks_every_day_of_the_range(home: LuckHome) -> None:
    home.write_model("2024-03-03", factor=10)
    for day in (SATURDAY, "2024-03-08"):
        home.write_users(day, "ann", "jo")
    assert home.predict("2024-03-08", SATURDAY).success
    paths = [home.warehouse.path(LUCK, day) for day in ("2024-03-08", SATURDAY)]
    contents = [path.read_bytes() for path in paths]
    home.write_users("2024-03-08", "ann", "jo", "eve")
    home.write_users(SATURDAY, "j", "ab", "abc")  # 1 · 10 + 3 = 13
    result = home.predict("2024-03-08", SATURDAY)
    message = failure_message(result)
    assert f"nothing was replaced, since {SATURDAY} failed no_13" in message
    assert [path.read_bytes() for path in paths] == contents
    assert result.get_asset_materialization_events() == []
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert checks["accounted"].passed
    assert checks["accounted"].metadata["staged"].value == 6
    assert checks["no_13"].metadata["failing"].value == {SATURDAY: 1}
    assert checks["no_13"].blocking and "what" not in checks["no_13"].metadata


def test_lineage_maps_a_day_to_the_latest_ended_week_of_the_model(home: LuckHome) -> None:
    asset = prediction_asset(luck)
    upstream = {dg.AssetKey(["features", "user_segments"]), dg.AssetKey(["models", "recommender"])}
    assert set(asset.dependency_keys) == upstream
    mapping = asset.get_partition_mapping(dg.AssetKey(["models", "recommender"]))
    assert mapping == newest_ended_week
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
            resources=asset_resources(home.settings),
        )
    )


# --- a crash ------------------------------------------------------------------------------------

NAMES = ("a", "bb", "ccc", "dddd", "eeeee", "ffffff", "ggggggg", "hhhhhhhh")


def predict_half(home: Path, connection: Connection) -> None:
    """Predicts a day in a new process, and blocks before the third shard of four."""

    def block(names: list[str]) -> None:
        if "eeeee" in names:
            connection.send(os.getpid())
            threading.Event().wait()

    LuckyScorer.hooks.append(block)
    declare(LUCK)
    open_home(home).predict(SATURDAY)


def test_a_run_after_a_crash_gives_the_bytes_of_an_undisturbed_run(
    home: LuckHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = open_home(tmp_path / "undisturbed")
    for luck_home in (home, undisturbed):
        luck_home.write_model("2024-03-03", factor=10)
        luck_home.write_users(SATURDAY, *NAMES)
    assert undisturbed.predict(SATURDAY).success
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["batch_predictions.inference.dagster.assets"])
    connection, child_connection = context.Pipe(duplex=False)
    process = context.Process(target=predict_half, args=(home.settings.home, child_connection))
    process.start()
    child_connection.close()
    os.kill(connection.recv(), signal.SIGKILL)
    process.join()
    connection.close()
    results = home.settings.home / "inference" / "luck" / SATURDAY / "results"
    assert len(list(results.glob("*.parquet"))) == 2
    assert home.warehouse.partitions(LUCK) == []

    scored: list[str] = []
    monkeypatch.setattr(LuckyScorer, "hooks", [scored.extend])
    assert home.predict(SATURDAY).success
    assert scored == list(NAMES[4:])
    expected = undisturbed.warehouse.path(LUCK, SATURDAY).read_bytes()
    assert home.warehouse.path(LUCK, SATURDAY).read_bytes() == expected
    assert not [path for path in results.iterdir() if path.name.startswith(".")]
