"""Features of what items are, in a world of four items and two users, by hand."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFacts, ItemTraits
from batch_predictions.models.recommender.features.candidates import Pairs
from batch_predictions.models.recommender.features.metadata import trait_features

DAY = date(2024, 3, 31)
ITEMS = pa.array(["a", "b", "c", "d"])
# Two kinds of milk and two of tea, of which ann took one every week, long ago.
KINDS = ["milk", "milk", "tea", "tea"]
TAKEN = {
    "ann": {"a": (30, 20, 10), "b": (10,), "c": (100, 93, 86)},
    "bob": {"d": (5,)},
}


def of(name: str, kind: str = "category") -> npt.NDArray[Any]:
    """The feature for ann and bob, (2, 4)."""
    rows = [(u, i, age) for u, items in TAKEN.items() for i, ages in items.items() for age in ages]
    users, items, ages = zip(*rows, strict=True)
    days = [DAY - timedelta(days=age) for age in ages]
    columns = {"user_id": users, "item_id": items, "date": days, "events": [1] * len(rows)}
    known = Interactions.from_table(pa.table(columns))
    traits = ItemTraits.from_table(pa.table({"item_id": ITEMS, kind: pa.array(KINDS)}), ITEMS)
    histories = Histories.of(known, np.arange(2), ITEMS, DAY)
    facts = ItemFacts.of(known, DAY, ITEMS, traits)
    pairs = Pairs(histories, facts, np.tile(np.arange(4), (2, 1)), {}, {})
    features = {each.name: each for each in trait_features(pairs)}
    return np.asarray(features[name].of(pairs))


def two(milk: float, tea: float) -> list[Any]:
    return [pytest.approx(value, rel=1e-5) for value in (milk, milk, tea, tea)]


def half(age: float, life: float) -> float:
    return float(0.5 ** (age / life))


def test_what_was_taken_tried_and_missed_of_a_category():
    ann, bob = of("category_missed").tolist()
    assert ann == two(10, 86) and bob == two(1000, 5)
    ann, _ = of("category_tried").tolist()
    assert ann == two(np.log1p(half(30, 60) + half(10, 60)), np.log1p(half(100, 60)))
    ann, _ = of("category_taken").tolist()
    milk = half(30, 30) + half(20, 30) + 2 * half(10, 30)
    assert ann == two(np.log1p(milk), np.log1p(sum(half(age, 30) for age in (100, 93, 86))))


def test_what_a_user_takes_more_than_others_is_near():
    ann, bob = of("brand_affinity", "brand").tolist()
    assert ann[0] == ann[1] > 0 > ann[2] == ann[3]
    assert bob[2] == bob[3] > 0 > bob[0] == bob[1]
    # Of shelves alone more is said.
    with pytest.raises(KeyError):
        of("brand_missed", "brand")
