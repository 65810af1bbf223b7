"""The assets of a prediction with a child table: one scoring materializes both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Self

import dagster as dg
import pyarrow as pa
import pytest

from batch_predictions.inference.base import BatchPrediction
from batch_predictions.inference.dagster.assets import GPU
from batch_predictions.inference.scorer import ScorerContext
from batch_predictions.inference.validation import Check
from batch_predictions.orchestration.job_runner import JobRunner
from batch_predictions.orchestration.jobs import AFTER_INGEST, NIGHTLY
from batch_predictions.settings import InferenceSettings, Settings
from batch_predictions.tables import INTERACTIONS, TABLES, Table, columns, declare
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.usual_check import IS_USUAL
from batch_predictions_tests.worlds.home import (
    PARTITIONS,
    asset_resources,
    materialize,
    prediction_asset,
)
from batch_predictions_tests.worlds.table_rows import write_events

OFFERS = Table(
    "predictions",
    "offers",
    "The best candidate of every user.",
    columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: user
        item_id VARCHAR: best item
        model_version VARCHAR: version of the rule
    """),
    key=("user_id",),
)
CANDIDATES = Table(
    "features",
    "candidates",
    "The candidates of every user.",
    columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: user
        item_id VARCHAR: candidate
        score DOUBLE: higher is better
    """),
    key=("user_id", "item_id"),
)
LISTS = pa.list_(pa.struct({"item_id": pa.string(), "score": pa.float64()}))


class OfferScorer:
    """Candidates are the items that a user had; excludes users whose name begins with x."""

    version: ClassVar[str] = "1"

    @classmethod
    def open(cls, context: ScorerContext) -> Self:
        return cls()

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        users, histories = rows["user_id"].to_pylist(), rows["item_ids"].to_pylist()
        lists = [[{"item_id": i, "score": float(len(items))} for i in items] for items in histories]
        reasons = ["x is unknown" if user[0] == "x" else None for user in users]
        best = [None if reason else i[0] for reason, i in zip(reasons, histories, strict=True)]
        return pa.RecordBatch.from_pydict(
            {
                "user_id": users,
                "item_id": best,
                "candidates": pa.array(lists, LISTS),
                "excluded": pa.array(reasons, pa.string()),
            }
        )


offers = BatchPrediction(
    table=OFFERS,
    key=("user_id",),
    rows="""select user_id, list(distinct item_id order by item_id) as item_ids
        from raw.interactions where date <= $date group by user_id""",
    scorer=OfferScorer,
    child_tables={"candidates": CANDIDATES},
    checks=(
        Check(
            "offers_are_candidates",
            "Every offer is a candidate.",
            """select count(*) from new_rows
                anti join new_candidates using (user_id, item_id)""",
        ),
        Check("no_ban", "No b.", "select count(*) from new_candidates where item_id = 'banned'"),
    ),
)

DAYS = ("2024-01-02", "2024-01-03")
MAIN, CHILD = dg.AssetKey(["predictions", "offers"]), dg.AssetKey(["features", "candidates"])
CHECKS = {"accounted", "child_rows_belong", "offers_are_candidates", "no_ban"}


@pytest.fixture(autouse=True)
def _declare_tables() -> Iterator[None]:
    declare(OFFERS)
    declare(CANDIDATES)
    yield
    del TABLES[OFFERS.qualified], TABLES[CANDIDATES.qualified]


@pytest.fixture
def warehouse(settings: Settings, warehouse: Warehouse) -> Warehouse:
    """Users u0 to u4 and x0 had i0 on the first day; u0 and x0 had i1 on the second."""
    settings.inference = InferenceSettings(shard_rows=2, device="cpu", workers=2)
    _events(warehouse, DAYS[0], *((f"u{n}", "i0") for n in range(5)), ("x0", "i0"))
    _events(warehouse, DAYS[1], ("u0", "i1"), ("x0", "i1"))
    return warehouse


def _events(warehouse: Warehouse, day: str, *events: tuple[str, str]) -> None:
    write_events(warehouse, "user_id item_id", events, date=as_date(day))


def _definitions(settings: Settings) -> dg.Definitions:
    return dg.Definitions(assets=[prediction_asset(offers)], resources=asset_resources(settings))


def _materialize(
    settings: Settings,
    *days: str,
    selection: tuple[dg.AssetKey, ...] = (MAIN, CHILD),
    instance: dg.DagsterInstance | None = None,
    fails: bool = False,
) -> dg.ExecuteInProcessResult:
    result = materialize(
        [prediction_asset(offers)], settings, *days, selection=selection, instance=instance
    )
    assert result.success is not fails
    return result


def _metadata(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[Any, dict[str, Any]]:
    """Metadata of an asset's materializations by partition; asserts one per partition."""
    records = instance.fetch_materializations(key, limit=100).records
    materializations = [record.asset_materialization for record in records]
    metadata = {m.partition: dict(m.metadata) for m in materializations if m}
    assert len(metadata) == len(materializations)
    return metadata


def _candidates(warehouse: Warehouse, day: str) -> list[tuple[str, str, float]]:
    rows = warehouse.query(
        "from features.candidates where date = $date order by all", {"date": day}
    ).to_pylist()
    return [(row["user_id"], row["item_id"], row["score"]) for row in rows]


FIRST = [(f"u{n}", "i0", 1.0) for n in range(5)]
SECOND = [("u0", "i0", 2.0), ("u0", "i1", 2.0), *FIRST[1:]]


def test_a_day_materializes_both_with_metadata(settings: Settings, warehouse: Warehouse) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = _materialize(settings, DAYS[0], instance=instance)
        main, child = _metadata(instance, MAIN)[DAYS[0]], _metadata(instance, CHILD)[DAYS[0]]
    assert _candidates(warehouse, DAYS[0]) == FIRST
    assert {c.check_name: c.passed for c in result.get_asset_check_evaluations()} == dict.fromkeys(
        {*CHECKS, IS_USUAL}, True
    )
    assert main["dagster/partition_row_count"].value == 5
    assert (main["keys_scored"].value, main["keys_excluded"].value) == (5, 1)
    assert child["dagster/partition_row_count"].value == 5
    assert "keys_scored" not in child
    assert "| score |" in child["preview"].value and "u4" not in child["preview"].value
    assert "| score |" not in main["preview"].value


def test_a_range_is_one_run_with_the_bytes_of_single_days(
    settings: Settings, warehouse: Warehouse
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        _materialize(settings, *DAYS, instance=instance)
        for key in (MAIN, CHILD):
            metadata = _metadata(instance, key)
            assert {day: "preview" in values for day, values in metadata.items()} == {
                DAYS[0]: False,
                DAYS[1]: True,
            }
    assert [_candidates(warehouse, day) for day in DAYS] == [FIRST, SECOND]
    files = [warehouse.path(table, day) for table in (OFFERS, CANDIDATES) for day in DAYS]
    contents = [(path.read_bytes(), path.stat().st_mtime_ns) for path in files]
    for day in DAYS:
        _materialize(settings, day)
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in files] == contents


@pytest.mark.parametrize("days", [DAYS[:1], DAYS], ids=["day", "range"])
@pytest.mark.parametrize("selected", [MAIN, CHILD], ids=["main", "child"])
def test_both_are_materialized_once_whichever_is_selected(
    settings: Settings, warehouse: Warehouse, selected: dg.AssetKey, days: tuple[str, ...]
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = _materialize(settings, *days, selection=(selected,), instance=instance)
        for key in (MAIN, CHILD):
            metadata = _metadata(instance, key)
            assert set(metadata) == set(days)
            assert "preview" in metadata[max(days)]
            assert metadata[days[0]]["dagster/partition_row_count"].value == 5
    for day in days:
        assert warehouse.path(OFFERS, day).exists() and warehouse.path(CANDIDATES, day).exists()
    # Dagster accepts results of the checks of selected assets only.
    checks = {check.check_name for check in result.get_asset_check_evaluations()}
    assert checks == {IS_USUAL, *(CHECKS if selected == MAIN else ())}


@pytest.mark.parametrize("selected", [MAIN, CHILD], ids=["main", "child"])
def test_a_failed_check_replaces_neither_on_any_day(
    settings: Settings, warehouse: Warehouse, selected: dg.AssetKey
) -> None:
    _materialize(settings, *DAYS)
    files = [warehouse.path(table, day) for table in (OFFERS, CANDIDATES) for day in DAYS]
    contents = [path.read_bytes() for path in files]
    _events(warehouse, DAYS[0], ("u0", "i0"), ("u9", "i9"))
    _events(warehouse, DAYS[1], ("u1", "banned"))
    with dg.DagsterInstance.ephemeral() as instance:
        result = _materialize(settings, *DAYS, selection=(selected,), instance=instance, fails=True)
        assert not _metadata(instance, MAIN) and not _metadata(instance, CHILD)
    assert [path.read_bytes() for path in files] == contents
    if selected == MAIN:
        passed = {c.check_name: c.passed for c in result.get_asset_check_evaluations()}
        assert passed == {name: name != "no_ban" for name in CHECKS}
    (failed,) = [e for e in result.all_events if e.event_type_value == "STEP_FAILURE"]
    data = failed.step_failure_data.user_failure_data
    assert data and f"{DAYS[1]} failed no_ban" in str(data.description)


def test_a_scorer_without_the_column_fails_with_a_message(
    settings: Settings, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = OfferScorer.score
    monkeypatch.setattr(
        OfferScorer,
        "score",
        lambda self, rows: score(self, rows).select(["user_id", "item_id", "excluded"]),
    )
    result = _materialize(settings, DAYS[0], fails=True)
    (failed,) = [e for e in result.all_events if e.event_type_value == "STEP_FAILURE"]
    assert "features.candidates is written from column candidates" in str(
        failed.step_failure_data.error
    )
    assert warehouse.partitions(OFFERS) == warehouse.partitions(CANDIDATES) == []


def test_both_are_in_lineage_with_their_columns(settings: Settings) -> None:
    asset = prediction_asset(offers)
    assert asset.keys == {MAIN, CHILD}
    graph = _definitions(settings).resolve_asset_graph()
    for key, table in ((MAIN, OFFERS), (CHILD, CANDIDATES)):
        node = graph.get(key)
        assert node.parent_keys == {dg.AssetKey(["raw", "interactions"])}
        assert node.partitions_def == PARTITIONS.daily
        assert node.backfill_policy == dg.BackfillPolicy.single_run()
        assert node.group_name == "predictions" and node.tags["cadence"] == "daily"
        assert node.owners == ["team:data"] and node.kinds == {"torch", "duckdb"}
        assert node.metadata["dagster/table_name"] == table.qualified
        assert (node.description or "").startswith(table.description)
    ops = {op.name: op for op in asset.node_def.iterate_op_defs()}
    assert set(GPU) <= set(ops["offers__score"].tags) and ops["offers__score"].pool == "gpu"


def test_a_job_of_the_main_asset_alone_materializes_both(
    settings: Settings, warehouse: Warehouse
) -> None:
    """As `dagster asset materialize --select predictions/offers` runs it."""
    job = _definitions(settings).resolve_implicit_job_def_def_for_assets([MAIN])
    assert job is not None
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            partition_key=DAYS[0], asset_selection=[MAIN], instance=instance
        )
        assert result.success and set(_metadata(instance, CHILD)) == {DAYS[0]}
    assert _candidates(warehouse, DAYS[0]) == FIRST


def test_jobs_select_both_and_count_their_steps_once(
    settings: Settings,
) -> None:
    definitions = _definitions(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        runner = JobRunner(instance, definitions, [], settings)
        assert runner.keys(NIGHTLY) == runner.keys(NIGHTLY, AFTER_INGEST) == [CHILD, MAIN]
        assert runner.keys(NIGHTLY, ["features"]) == []
        assert runner.weight(NIGHTLY) == 3
        # A source without interactions feeds neither.
        assert JobRunner(instance, definitions, [INTERACTIONS], settings).keys(NIGHTLY) == []
