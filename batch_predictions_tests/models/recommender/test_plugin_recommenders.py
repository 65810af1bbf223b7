"""A generator and a ranker feature of a user's own package: the module of the documentation."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.features.candidate_features import CandidateBatch
from batch_predictions.models.recommender.features.table import build_feature_table
from batch_predictions.models.recommender.generators.base import generators
from batch_predictions.models.recommender.ranker.two_stage import TwoStageRecommender
from batch_predictions.models.recommender.training.config import TwoStageConfig
from batch_predictions.models.recommender.training.trainer import RankerTrainer
from batch_predictions_tests.worlds.plugin_packages import documented_module, load_package

DAY = date(2024, 3, 31)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module of the documentation, loaded."""
    load_package(
        tmp_path,
        monkeypatch,
        "my_shop",
        {"seasons": documented_module("how_to/add_generator.md")},
    )


def to_interactions(rows: list[tuple[str, str, int]]) -> Interactions:
    """Rows of user, item and age in days."""
    users, items, ages = zip(*rows, strict=True)
    days = [DAY - timedelta(days=age) for age in ages]
    columns = {"user_id": users, "item_id": items, "date": days, "events": [1] * len(rows)}
    return Interactions.from_table(pa.table(columns))


def test_the_documented_declarations_give_what_the_page_says(plugin: None) -> None:
    rows = [("ann", "coat", 360), ("ann", "coat", 370), ("ann", "coat", 100), ("ann", "hat", 364)]
    rows += [("bob", "hat", 390), ("bob", "scarf", 12), ("ann", "scarf", 12), ("bob", "cap", 3)]
    interactions = to_interactions(rows)
    items = interactions.item_ids
    assert items.to_pylist() == ["cap", "coat", "hat", "scarf"]
    features = ItemFeatures.from_interactions(interactions, DAY, items)
    histories = Histories.from_interactions(interactions, np.arange(2), items, DAY)
    generator = generators()["new_arrivals"]
    model = generator.recommender_class.fit(interactions, DAY)
    scores = model.scores(histories, features)
    assert np.isnan(scores[:, [1, 2]]).all()
    expected = features.share("decayed_events_7")[[0, 3]]
    np.testing.assert_allclose(scores[:, [0, 3]], [expected, expected], rtol=1e-6)
    strict = generator.params(exclude_seen=False, overrides={"max_days": 5})
    proposals = generator.recommender_class.fit(interactions, DAY, strict).propose(
        histories, features, 3, exclude_seen=False
    )
    assert proposals.positions.tolist() == [[0, -1, -1]] * 2
    # Of bob only two items are candidates.
    positions = np.array([[0, 1, 2, 3], [2, 3, -1, -1]])
    table, columns = build_feature_table(CandidateBatch(histories, features, positions, {}, {}))
    index = [column.name for column in columns].index("user_item_last_year")
    assert columns[index].group == "own"
    assert table[:, index].tolist() == [0, 2, 1, 0, 0, 0]


def test_a_training_uses_them_and_a_stored_model_keeps_them(plugin: None, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [(f"u{n % 20:02}", f"i{random.integers(30):02}", n % 50) for n in range(2000)]
    interactions = to_interactions(rows)
    config = TwoStageConfig(
        exclude_seen=False,
        generators=("recent", "own_history", "new_arrivals"),
        ranker_params={"rounds": 4},
        threads=1,
    )
    model = RankerTrainer(config).fit(interactions, DAY)
    names = [column.name for column in model.params.columns]
    assert {"new_arrivals", "new_arrivals_rank", "user_item_last_year"} <= set(names)
    features = ItemFeatures.from_interactions(interactions, DAY, model.items)
    histories = Histories.from_interactions(interactions, np.arange(20), model.items, DAY)
    model.save(tmp_path / "model")
    loaded = TwoStageRecommender.load(tmp_path / "model")
    ranked, again = (m.rank(histories, features, 5, exclude_seen=False) for m in (model, loaded))
    np.testing.assert_array_equal(ranked.positions, again.positions)
    np.testing.assert_array_equal(ranked.scores, again.scores)
    assert (ranked.positions >= 0).all()
