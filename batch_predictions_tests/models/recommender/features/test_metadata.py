"""Features of item metadata for four items and two users, computed by hand."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.data.item_metadata import ItemMetadata
from batch_predictions.models.recommender.features.candidate_features import CandidateBatch
from batch_predictions.models.recommender.features.metadata import metadata_features

DAY = date(2024, 3, 31)
ITEMS = pa.array(["a", "b", "c", "d"])
# Two kinds of milk and two of tea.
CATEGORIES = ["milk", "milk", "tea", "tea"]
AGES: dict[str, dict[str, tuple[int, ...]]] = {
    "ann": {"a": (30, 20, 10), "b": (10,), "c": (100, 93, 86)},
    "bob": {"d": (5,)},
}


def compute(name: str, kind: str = "category") -> npt.NDArray[Any]:
    """The feature of ann and bob for every item, (2, 4)."""
    rows = [(u, i, age) for u, items in AGES.items() for i, ages in items.items() for age in ages]
    users, items, ages = zip(*rows, strict=True)
    days = [DAY - timedelta(days=age) for age in ages]
    columns = {"user_id": users, "item_id": items, "date": days, "events": [1] * len(rows)}
    interactions = Interactions.from_table(pa.table(columns))
    metadata = ItemMetadata.from_table(
        pa.table({"item_id": ITEMS, kind: pa.array(CATEGORIES)}), ITEMS
    )
    histories = Histories.from_interactions(interactions, np.arange(2), ITEMS, DAY)
    item_features = ItemFeatures.from_interactions(interactions, DAY, ITEMS, metadata)
    batch = CandidateBatch(histories, item_features, np.tile(np.arange(4), (2, 1)), {}, {})
    features = {feature.name: feature for feature in metadata_features.features(batch)}
    return np.asarray(features[name].compute(batch)).reshape(2, 4)


def by_category(milk: float, tea: float) -> list[Any]:
    return [pytest.approx(value, rel=1e-5) for value in (milk, milk, tea, tea)]


def decay(age: float, half_life: float) -> float:
    return float(0.5 ** (age / half_life))


def test_recency_new_items_and_events_of_a_category() -> None:
    ann, bob = compute("category_days_since_last").tolist()
    assert ann == by_category(10, 86) and bob == by_category(1000, 5)
    ann, _ = compute("category_new_items").tolist()
    assert ann == by_category(np.log1p(decay(30, 60) + decay(10, 60)), np.log1p(decay(100, 60)))
    ann, _ = compute("category_events").tolist()
    milk = decay(30, 30) + decay(20, 30) + 2 * decay(10, 30)
    assert ann == by_category(
        np.log1p(milk), np.log1p(sum(decay(age, 30) for age in (100, 93, 86)))
    )


def test_affinity_is_positive_where_a_user_takes_more_than_others() -> None:
    ann, bob = compute("brand_affinity", "brand").tolist()
    assert ann[0] == ann[1] > 0 > ann[2] == ann[3]
    assert bob[2] == bob[3] > 0 > bob[0] == bob[1]
    # Only kinds within which items replace each other have more features.
    with pytest.raises(KeyError):
        compute("brand_days_since_last", "brand")
