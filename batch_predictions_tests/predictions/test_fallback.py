"""The fallback's declaration: which segments have lists, and that the stored model serves them."""

from __future__ import annotations

from datetime import date
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


def weights_of(kappa: float | None, order: str) -> pa.Table:
    """The lookup table `weights` of 900 purchases, which are stored in some order."""
    with duckdb.connect() as db:
        db.execute("create schema features; create schema raw")
        db.execute(
            f"""create table raw.interactions as
                select 'u' || i % 7 as user_id, 'i' || i % 5 as item_id,
                    date '2024-03-31' - (i % 180)::INTEGER as date,
                    'purchase' as event_type, 1 as quantity
                from range(900) as rows(i) order by {order};
            create table features.user_segments as
                select date '2024-03-31' as date, 'u' || i as user_id,
                    ['19-24', '65+'][i % 2 + 1] as age_bracket, 'f' as gender, 'here' as location
                from range(7) as rows(i);
            create table features.item_state as
                select date '2024-03-31' as date, 'i' || i as item_id, true as available
                from range(4) as rows(i);
            create table features.item_rules (date DATE, item_id VARCHAR, is_blocked BOOLEAN)"""
        )
        values = {
            "date": date(2024, 3, 31),
            "weighted_types": ["purchase"],
            "type_weights": [0.7],
            "window_days": 182,
            "model_half_life_days": 7.0,
            "model_kappa": kappa,
        }
        query = demographic_recommendations.lookup_tables["weights"]
        return db.sql(query, params=values).to_arrow_table()


def test_only_shares_that_are_shrunk_need_weights_by_segment() -> None:
    overall, by_segment = weights_of(None, "i"), weights_of(100.0, "i")
    assert overall["item_id"].to_pylist() == ["i0", "i1", "i2", "i3"]
    assert set(overall["age_bracket"].to_pylist()) == {"unknown"}
    assert by_segment.num_rows == 8 and set(by_segment["age_bracket"].to_pylist()) == {
        "19-24",
        "65+",
    }
    sums = by_segment.group_by("item_id").aggregate([("weight", "sum")]).sort_by("item_id")
    np.testing.assert_allclose(sums["weight_sum"], overall["weight"], rtol=1e-12)
    ages = np.arange(900) % 180
    expected = [0.7 * (0.5 ** (ages[item::5] / 7)).sum() for item in range(4)]
    np.testing.assert_allclose(overall["weight"], expected, rtol=1e-12)


@pytest.mark.parametrize("kappa", [None, 100.0])
def test_weights_have_the_same_bits_whatever_the_order_of_the_rows(kappa: float | None) -> None:
    assert weights_of(kappa, "i").equals(weights_of(kappa, "hash(i)"))
