"""Eligible keys: each is scored, or in `predictions.exclusions` with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from batch_predictions.inference.partition_loading import load_partition
from batch_predictions.inference.pools.engine import score
from batch_predictions.inference.results import UNSTAGED_KEYS, StagingManifest
from batch_predictions.inference.staged_keys import NOT_STAGED, StagingError
from batch_predictions.settings import InferenceSettings
from batch_predictions.tables import EXCLUSIONS
from batch_predictions_tests.inference.test_validation import (
    VALID_ROWS,
    run_validation,
    stored_exclusions,
    stored_rows,
)
from batch_predictions_tests.worlds.engine import DAY, DOUBLES, FixedScorer, Staging, read_rows

ELIGIBLE = """select i::VARCHAR as id, case when i = 6 then 'too late' end as reason
    from range($all::BIGINT) as r(i)"""


def eligible_stage(stage: Staging, n: int = 5, all_keys: int = 8, **overrides: Any) -> Path:
    """Stages n of the eligible numbers."""
    return stage(
        n, eligible=ELIGIBLE, sql_parameters={"n": n, "all": all_keys}, shard_rows=2, **overrides
    )


def test_eligible_keys_that_are_not_staged_are_excluded_with_a_reason(stage: Staging) -> None:
    path = eligible_stage(stage)
    score(path, InferenceSettings(workers=1, device="cpu"))
    result = run_validation(stage, path)
    assert (result.eligible, result.staged, result.scored, result.excluded) == (8, 5, 5, 3)
    assert result.passed and result.reasons == {NOT_STAGED: 2, "too late": 1}
    first = load_partition(stage.warehouse, DOUBLES, path)
    expected = [("5", NOT_STAGED), ("6", "too late"), ("7", NOT_STAGED)]
    assert [(r["key"], r["reason"]) for r in stored_exclusions(stage.warehouse)] == expected
    assert len(stored_rows(stage.warehouse)) == 5
    # Again: the same stage, and the same bytes.
    content = stage.warehouse.path(EXCLUSIONS, DAY, {"table_name": "doubles"}).read_bytes()
    assert eligible_stage(stage) == path
    second = load_partition(stage.warehouse, DOUBLES, path)
    assert first.main.changed and not second.main.changed
    assert stage.warehouse.path(EXCLUSIONS, DAY, {"table_name": "doubles"}).read_bytes() == content


def test_reasons_of_scorer_and_query_are_stored_together(stage: Staging) -> None:
    FixedScorer.rows = list(VALID_ROWS)
    path = eligible_stage(stage, all_keys=7, scorer=FixedScorer)
    score(path, InferenceSettings(workers=1, device="cpu"))
    result = run_validation(stage, path)
    assert (result.eligible, result.scored, result.excluded, result.passed) == (7, 3, 4, True)
    load_partition(stage.warehouse, DOUBLES, path)
    reasons = {row["key"]: row["reason"] for row in stored_exclusions(stage.warehouse)}
    assert reasons == {"2": "too even", "4": "too even", "5": NOT_STAGED, "6": "too late"}


def test_a_scorer_cannot_score_a_key_that_is_eligible_and_not_staged(stage: Staging) -> None:
    FixedScorer.rows = [*VALID_ROWS, ("x1", 1, 1, None)]
    eligible = "select id from (values ('0'), ('1'), ('2'), ('3'), ('4'), ('x1')) as v(id)"
    path = stage(5, eligible=eligible, scorer=FixedScorer, shard_rows=2)
    score(path, InferenceSettings(workers=1, device="cpu"))
    assert "1 keys both scored and excluded" in run_validation(stage, path).examples["accounted"]


def test_other_eligible_keys_stage_again_and_score_nothing_again(stage: Staging) -> None:
    first, second = eligible_stage(stage), eligible_stage(stage, all_keys=9)
    assert first != second and first.exists()
    shards = [StagingManifest.read(path).shards for path in (first, second)]
    assert shards[0] == shards[1]


def test_without_rows_all_eligible_keys_are_excluded(stage: Staging) -> None:
    path = eligible_stage(stage, n=0, all_keys=2)
    result = run_validation(stage, path)
    assert (result.eligible, result.staged, result.excluded, result.passed) == (2, 0, 2, True)
    load_partition(stage.warehouse, DOUBLES, path)
    assert len(stored_exclusions(stage.warehouse)) == 2


def test_where_all_eligible_keys_are_staged_none_is_excluded(stage: Staging) -> None:
    path = eligible_stage(stage, n=5, all_keys=5)
    assert StagingManifest.read(path).unstaged == 0
    score(path, InferenceSettings(workers=1, device="cpu"))
    result = run_validation(stage, path)
    assert (result.eligible, result.scored, result.excluded, result.passed) == (5, 5, 0, True)


def test_eligible_keys_of_several_columns_may_be_null(stage: Staging) -> None:
    path = stage(
        rows="select id, null::VARCHAR as place, 1 as n from (values ('a'), ('b')) as v(id)",
        eligible="""select id, place from (values ('a', null), ('b', null), (null, 'here'),
            (null, 'here'), ('b', 'here')) as v(id, place)""",
        key=("id", "place"),
    )
    assert StagingManifest.read(path).unstaged == 2
    load_keys = read_rows(path.with_name(UNSTAGED_KEYS))
    assert [(row["id"], row["place"]) for row in load_keys] == [("b", "here"), (None, "here")]


@pytest.mark.parametrize("example", ["…", r"\('4',\)"])
def test_a_row_to_score_that_is_not_eligible_is_refused(
    stage: Staging, example: str, request: pytest.FixtureRequest
) -> None:
    if example != "…":
        request.getfixturevalue("identifiers_shown")
    with pytest.raises(StagingError, match=f"not among the eligible ones: {example}"):
        eligible_stage(stage, n=5, all_keys=4)
    assert not list(stage.folder.glob("*/*/*staged*")) + list(stage.folder.glob("*/*/.draft*"))
