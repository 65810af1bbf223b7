"""The fallback's declaration: which segments have lists, and that the stored tilt serves them."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_predictions.inference.scorer import EXCLUDED, ScorerContext
from batch_predictions.models.demographic.model import (
    NO_ADJUSTMENT,
    CountAdjustment,
    DemographicModel,
)
from batch_predictions.models.demographic.ridge_fit import RidgeFit
from batch_predictions.models.demographic.segments import SegmentAdjustment, SegmentUsers
from batch_predictions.predictions.fallback import DemographicScorer, demographic_recommendations

USERS = pa.table(
    {
        "age_bracket": ["19-24", "19-24", "65+"],
        "gender": ["f", "m", "f"],
        "location": ["here", "here", "there"],
        "users": [30, 1, 40],
    }
)


def ridge() -> SegmentAdjustment:
    """The young want tea, the old cake."""
    from scipy.sparse import csr_matrix

    taken = csr_matrix(np.array([[20.0, 1.0], [1.0, 0.0], [2.0, 30.0]]))
    items = pa.array(["tea", "cake"])
    return RidgeFit(SegmentUsers.from_table(USERS), items, taken, places=False).tilt(1.0)


@pytest.mark.parametrize(
    ("fewest", "places", "segments"),
    [
        (10, True, {"age_gender_location": 2, "age_location": 2, "age_gender": 2, "location": 2}),
        (1, True, {"age_gender_location": 3, "age_location": 2, "age_gender": 3, "location": 2}),
        (1, False, {"age_gender": 3}),
    ],
)
def test_the_tilt_says_which_segments_have_lists(
    fewest: int, places: bool, segments: dict[str, int]
) -> None:
    with duckdb.connect() as db:
        db.execute("create schema features")
        db.register("given", USERS)
        db.execute(
            "create table features.user_segments as select date '2024-03-31' as date, given.* "
            "exclude users from given, range(users)"
        )
        found = db.execute(
            f"select segment_level, count(*) from ({demographic_recommendations.rows}) group by 1",
            {"date": "2024-03-31", "model_min_users": fewest, "model_places": places},
        ).fetchall()
    counts = dict(found)
    assert counts["everyone"] == 1 and counts["age"] == 2
    named = ("age_gender_location", "age_location", "age_gender", "location")
    assert {level: counts[level] for level in named if level in counts} == segments


@pytest.mark.parametrize(
    ("tilt", "of_the_old"),
    [(NO_ADJUSTMENT, "tea"), (CountAdjustment(1.0), "cake"), (ridge(), "cake")],
)
def test_the_stored_tilt_serves(tilt: SegmentAdjustment, of_the_old: str, tmp_path: Path) -> None:
    DemographicModel(30.0, tilt).save(tmp_path / "model")  # type: ignore[arg-type]
    wanted = pa.table(
        {
            "age_bracket": ["19-24", "65+", "19-24"],
            "gender": ["f", "f", "m"],
            "location": ["here", "there", "here"],
            "item_id": ["tea", "cake", "tea"],
            "weight": [12.0, 10.0, 1.0],
        }
    )
    for name, table in (("users", USERS), ("wanted", wanted)):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    side = {name: tmp_path / f"{name}.parquet" for name in ("users", "wanted")}
    scorer = DemographicScorer.open(ScorerContext(tmp_path / "model", side, {"k": 2}))
    rows = pa.RecordBatch.from_pydict(
        {
            "segment_level": ["age", "everyone"],
            "age_bracket": ["65+", None],
            "gender": pa.array([None, None], pa.string()),
            "location": pa.array([None, None], pa.string()),
        }
    )
    answer = pa.Table.from_batches([scorer.score(rows)])
    first = {row["segment_level"]: row for row in answer.to_pylist() if row["rank"] == 1}
    assert first["age"]["item_id"] == of_the_old and first["age"]["support"] == 40
    assert first["everyone"]["item_id"] == "tea" and first["everyone"]["support"] == 71
    assert answer[EXCLUDED].null_count == answer.num_rows
