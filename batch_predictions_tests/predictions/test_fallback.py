"""The fallback's declaration: which segments have lists, and that the stored model serves them."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_predictions.inference.scorer import EXCLUDED, ScorerContext
from batch_predictions.models.demographic.demographic_model import (
    NO_ADJUSTMENT,
    CountAdjustment,
    DemographicModel,
    SegmentAdjustment,
)
from batch_predictions.models.demographic.demographic_segments import SegmentUsers
from batch_predictions.models.demographic.ridge_fit import RidgeFit
from batch_predictions.predictions.fallback import DemographicScorer, demographic_recommendations

USERS = pa.table(
    {
        "age_bracket": ["19-24", "19-24", "65+"],
        "gender": ["f", "m", "f"],
        "location": ["here", "here", "there"],
        "users": [30, 1, 40],
    }
)


def fit_ridge() -> SegmentAdjustment:
    """Users of 19-24 take tea, users of 65+ cake."""
    from scipy.sparse import csr_matrix

    log_events = csr_matrix(np.array([[20.0, 1.0], [1.0, 0.0], [2.0, 30.0]]))
    items = pa.array(["tea", "cake"])
    return RidgeFit(SegmentUsers.from_table(USERS), items, log_events, uses_location=False).solve(
        1.0
    )


@pytest.mark.parametrize(
    ("min_users", "uses_location", "expected"),
    [
        (10, True, {"age_gender_location": 2, "age_location": 2, "age_gender": 2, "location": 2}),
        (1, True, {"age_gender_location": 3, "age_location": 2, "age_gender": 3, "location": 2}),
        (1, False, {"age_gender": 3}),
    ],
)
def test_the_model_says_which_segments_have_lists(
    min_users: int, uses_location: bool, expected: dict[str, int]
) -> None:
    with duckdb.connect() as db:
        db.execute("create schema features")
        db.register("leaves", USERS)
        db.execute(
            "create table features.user_segments as select date '2024-03-31' as date, leaves.* "
            "exclude users from leaves, range(users)"
        )
        rows = db.execute(
            f"select segment_level, count(*) from ({demographic_recommendations.rows}) group by 1",
            {
                "date": "2024-03-31",
                "model_min_users": min_users,
                "model_uses_location": uses_location,
            },
        ).fetchall()
    counts = dict(rows)
    assert counts["everyone"] == 1 and counts["age"] == 2
    levels = ("age_gender_location", "age_location", "age_gender", "location")
    assert {level: counts[level] for level in levels if level in counts} == expected


@pytest.mark.parametrize(
    ("adjustment", "first_of_65"),
    [(NO_ADJUSTMENT, "tea"), (CountAdjustment(1.0), "cake"), (fit_ridge(), "cake")],
)
def test_the_stored_model_serves(
    adjustment: SegmentAdjustment, first_of_65: str, tmp_path: Path
) -> None:
    DemographicModel(30.0, adjustment).save(tmp_path / "model")
    weights = pa.table(
        {
            "age_bracket": ["19-24", "65+", "19-24"],
            "gender": ["f", "f", "m"],
            "location": ["here", "there", "here"],
            "item_id": ["tea", "cake", "tea"],
            "weight": [12.0, 10.0, 1.0],
        }
    )
    rules = {"item_id": ["bread"], "boost": [0], "groups": pa.array([[]], pa.list_(pa.string()))}
    tables = {"users": USERS, "weights": weights, "rules": pa.table(rules)}
    for name, table in tables.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
    files = {name: tmp_path / f"{name}.parquet" for name in tables}
    parameters = {"k": 2, "limits": []}
    scorer = DemographicScorer.open(ScorerContext(tmp_path / "model", files, parameters))
    rows = pa.RecordBatch.from_pydict(
        {
            "segment_level": ["age", "everyone"],
            "age_bracket": ["65+", None],
            "gender": pa.array([None, None], pa.string()),
            "location": pa.array([None, None], pa.string()),
        }
    )
    lists = pa.Table.from_batches([scorer.score(rows)])
    first = {row["segment_level"]: row for row in lists.to_pylist() if row["rank"] == 1}
    assert first["age"]["item_id"] == first_of_65 and first["age"]["support"] == 40
    assert first["everyone"]["item_id"] == "tea" and first["everyone"]["support"] == 71
    assert lists[EXCLUDED].null_count == lists.num_rows
