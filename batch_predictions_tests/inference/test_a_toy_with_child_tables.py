"""One scoring, two assets: what a declaration with a companion table gets in Dagster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import dagster as dg
import pyarrow as pa
import pytest

from batch_predictions.automation.job_runner import JobRunner
from batch_predictions.automation.jobs import AFTER_INGEST, NIGHTLY
from batch_predictions.inference.dagster.assets import GPU
from batch_predictions.inference.dagster.io_manager import JsonPathIOManager
from batch_predictions.inference.declaration import BatchPrediction
from batch_predictions.inference.scorer import ScorerContext
from batch_predictions.inference.validation import Check
from batch_predictions.model_store import ModelStore
from batch_predictions.settings import InferenceSettings, Settings
from batch_predictions.tables import INTERACTIONS, TABLES, Table, columns, declare
from batch_predictions.warehouse import Warehouse
from batch_predictions_tests.worlds.home import PARTITIONS, prediction_asset

OFFERS = Table(
    "predictions",
    "offers",
    "The best of everyone's candidates.",
    columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: who
        item_id VARCHAR: what
        model_version VARCHAR: what decided it
    """),
    key=("user_id",),
)
CANDIDATES = Table(
    "features",
    "candidates",
    "Everyone's candidates.",
    columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: who
        item_id VARCHAR: candidate
        score DOUBLE: higher is better
    """),
    key=("user_id", "item_id"),
)
LISTS = pa.list_(pa.struct({"item_id": pa.string(), "score": pa.float64()}))


class OfferScorer:
    """Candidates are what the user had; nobody is offered anything whose name begins with x."""

    version = "1"

    @classmethod
    def open(cls, opening: ScorerContext) -> Self:
        return cls()

    def score(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        users, had = rows["user_id"].to_pylist(), rows["item_ids"].to_pylist()
        lists = [[{"item_id": each, "score": float(len(i))} for each in i] for i in had]
        why = ["nobody knows x" if user[0] == "x" else None for user in users]
        best = [None if no else items[0] for no, items in zip(why, had, strict=True)]
        return pa.RecordBatch.from_pydict(
            {
                "user_id": users,
                "item_id": best,
                "candidates": pa.array(lists, LISTS),
                "excluded": pa.array(why, pa.string()),
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
            "What is offered is a candidate.",
            """select count(*) from new_rows
                anti join new_candidates using (user_id, item_id)""",
        ),
        Check("no_ban", "No b.", "select count(*) from new_candidates where item_id = 'banned'"),
    ),
)

DAYS = ("2024-01-02", "2024-01-03")
MAIN, COMPANION = dg.AssetKey(["predictions", "offers"]), dg.AssetKey(["features", "candidates"])
CHECKS = {"accounted", "companions_belong", "offers_are_candidates", "no_ban"}


@pytest.fixture(autouse=True)
def _declared() -> Iterator[None]:
    declare(OFFERS)
    declare(CANDIDATES)
    yield
    del TABLES[OFFERS.qualified], TABLES[CANDIDATES.qualified]


@pytest.fixture
def shop(settings: Settings, warehouse: Warehouse) -> Warehouse:
    """Users u0 to u4 and x0 had i0 on the first day, and u0 and x0 i1 on the second."""
    settings.inference = InferenceSettings(shard_rows=2, device="cpu", workers=2)
    _events(warehouse, DAYS[0], *((f"u{n}", "i0") for n in range(5)), ("x0", "i0"))
    _events(warehouse, DAYS[1], ("u0", "i1"), ("x0", "i1"))
    return warehouse


def _events(warehouse: Warehouse, day: str, *events: tuple[str, str]) -> None:
    rows = ", ".join(f"('{user}', '{item}')" for user, item in events)
    warehouse.replace_partition(
        INTERACTIONS,
        day,
        f"""select user_id || item_id || '{day}' as event_id, user_id, item_id,
        'view' as event_type, 1.0 as quantity, 1.0 as amount, 'here' as location,
        null as occurred_at
        from (values {rows}) as events(user_id, item_id)""",
    )


def _resources(settings: Settings) -> dict[str, Any]:
    return {
        "settings": settings,
        "warehouse": Warehouse.of(settings),
        "models": ModelStore.of(settings),
        "handles": JsonPathIOManager(home=str(settings.home)),
    }


def _definitions(settings: Settings) -> dg.Definitions:
    return dg.Definitions(assets=[prediction_asset(offers)], resources=_resources(settings))


def _materialize(
    settings: Settings,
    *days: str,
    selection: tuple[dg.AssetKey, ...] = (MAIN, COMPANION),
    instance: dg.DagsterInstance | None = None,
    fails: bool = False,
) -> dg.ExecuteInProcessResult:
    tags = {"dagster/asset_partition_range_start": min(days)}
    tags["dagster/asset_partition_range_end"] = max(days)
    result = dg.materialize(
        [prediction_asset(offers)],
        selection=list(selection),
        instance=instance,
        partition_key=days[0] if len(days) == 1 else None,
        tags=tags if len(days) > 1 else None,
        resources=_resources(settings),
        raise_on_error=False,
    )
    assert result.success is not fails
    return result


def _shown(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[Any, dict[str, Any]]:
    """Metadata of an asset's materializations by partition, each of which there is once."""
    records = instance.fetch_materializations(key, limit=100).records
    made = [each.asset_materialization for each in records]
    found = {each.partition: dict(each.metadata) for each in made if each}
    assert len(found) == len(made)
    return found


def _candidates(warehouse: Warehouse, day: str) -> list[tuple[str, str, float]]:
    rows = warehouse.query(
        "from features.candidates where date = $date order by all", {"date": day}
    ).to_pylist()
    return [(row["user_id"], row["item_id"], row["score"]) for row in rows]


FIRST = [(f"u{n}", "i0", 1.0) for n in range(5)]
SECOND = [("u0", "i0", 2.0), ("u0", "i1", 2.0), *FIRST[1:]]


def test_a_day_makes_both_and_shows_them(settings: Settings, shop: Warehouse) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = _materialize(settings, DAYS[0], instance=instance)
        main, companion = _shown(instance, MAIN)[DAYS[0]], _shown(instance, COMPANION)[DAYS[0]]
    assert _candidates(shop, DAYS[0]) == FIRST
    assert {c.check_name: c.passed for c in result.get_asset_check_evaluations()} == dict.fromkeys(
        CHECKS, True
    )
    assert main["dagster/partition_row_count"].value == 5
    assert (main["keys_scored"].value, main["keys_excluded"].value) == (5, 1)
    assert companion["dagster/partition_row_count"].value == 5
    assert "keys_scored" not in companion
    assert "| score |" in companion["preview"].value and "u4" in companion["preview"].value
    assert "| score |" not in main["preview"].value


def test_a_range_is_one_run_and_a_day_made_again_has_the_same_bytes(
    settings: Settings, shop: Warehouse
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        _materialize(settings, *DAYS, instance=instance)
        for key in (MAIN, COMPANION):
            shown = _shown(instance, key)
            assert {day: "preview" in each for day, each in shown.items()} == {
                DAYS[0]: False,
                DAYS[1]: True,
            }
    assert [_candidates(shop, day) for day in DAYS] == [FIRST, SECOND]
    files = [shop.path(table, day) for table in (OFFERS, CANDIDATES) for day in DAYS]
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in files]
    for day in DAYS:
        _materialize(settings, day)
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in files] == before


@pytest.mark.parametrize("days", [DAYS[:1], DAYS], ids=["day", "range"])
@pytest.mark.parametrize("chosen", [MAIN, COMPANION], ids=["main", "companion"])
def test_whichever_is_selected_both_are_made_and_shown_once(
    settings: Settings, shop: Warehouse, chosen: dg.AssetKey, days: tuple[str, ...]
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = _materialize(settings, *days, selection=(chosen,), instance=instance)
        for key in (MAIN, COMPANION):
            shown = _shown(instance, key)
            assert set(shown) == set(days)
            assert "preview" in shown[max(days)]
            assert shown[days[0]]["dagster/partition_row_count"].value == 5
    for day in days:
        assert shop.path(OFFERS, day).exists() and shop.path(CANDIDATES, day).exists()
    # The checks are the main asset's: without it Dagster takes no results of theirs.
    checks = {each.check_name for each in result.get_asset_check_evaluations()}
    assert checks == (CHECKS if chosen == MAIN else set())


@pytest.mark.parametrize("chosen", [MAIN, COMPANION], ids=["main", "companion"])
def test_a_failed_check_replaces_neither_on_any_day(
    settings: Settings, shop: Warehouse, chosen: dg.AssetKey
) -> None:
    _materialize(settings, *DAYS)
    files = [shop.path(table, day) for table in (OFFERS, CANDIDATES) for day in DAYS]
    before = [path.read_bytes() for path in files]
    _events(shop, DAYS[0], ("u0", "i0"), ("u9", "i9"))
    _events(shop, DAYS[1], ("u1", "banned"))
    with dg.DagsterInstance.ephemeral() as instance:
        result = _materialize(settings, *DAYS, selection=(chosen,), instance=instance, fails=True)
        assert not _shown(instance, MAIN) and not _shown(instance, COMPANION)
    assert [path.read_bytes() for path in files] == before
    if chosen == MAIN:
        passed = {c.check_name: c.passed for c in result.get_asset_check_evaluations()}
        assert passed == {name: name != "no_ban" for name in CHECKS}
    (failed,) = [e for e in result.all_events if e.event_type_value == "STEP_FAILURE"]
    data = failed.step_failure_data.user_failure_data
    assert data and f"{DAYS[1]} failed no_ban" in str(data.description)


def test_a_scorer_without_the_column_fails_in_words(
    settings: Settings, shop: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = OfferScorer.score
    monkeypatch.setattr(
        OfferScorer,
        "score",
        lambda self, rows: plain(self, rows).select(["user_id", "item_id", "excluded"]),
    )
    result = _materialize(settings, DAYS[0], fails=True)
    (failed,) = [e for e in result.all_events if e.event_type_value == "STEP_FAILURE"]
    assert "features.candidates is written from column candidates" in str(
        failed.step_failure_data.error
    )
    assert shop.partitions(OFFERS) == shop.partitions(CANDIDATES) == []


def test_both_stand_in_lineage_with_their_columns(settings: Settings) -> None:
    asset = prediction_asset(offers)
    assert asset.keys == {MAIN, COMPANION}
    graph = _definitions(settings).resolve_asset_graph()
    for key, table in ((MAIN, OFFERS), (COMPANION, CANDIDATES)):
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


def test_a_job_of_the_main_asset_alone_is_not_refused(settings: Settings, shop: Warehouse) -> None:
    """As `dagster asset materialize --select predictions/offers` does it."""
    job = _definitions(settings).resolve_implicit_job_def_def_for_assets([MAIN])
    assert job is not None
    with dg.DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(
            partition_key=DAYS[0], asset_selection=[MAIN], instance=instance
        )
        assert done.success and set(_shown(instance, COMPANION)) == {DAYS[0]}
    assert _candidates(shop, DAYS[0]) == FIRST


def test_a_night_and_the_rest_of_it_have_both_and_count_their_steps_once(
    settings: Settings,
) -> None:
    definitions = _definitions(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        chain = JobRunner(instance, definitions, [])
        assert chain.keys(NIGHTLY) == chain.keys(NIGHTLY, AFTER_INGEST) == [COMPANION, MAIN]
        assert chain.keys(NIGHTLY, ["features"]) == []
        assert chain.weight(NIGHTLY) == 3
        # A source without interactions feeds neither.
        assert JobRunner(instance, definitions, [INTERACTIONS]).keys(NIGHTLY) == []
