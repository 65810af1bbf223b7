"""Texts that a model keeps are those of several users, also where a user has many examples."""

from __future__ import annotations

import pyarrow as pa

from batch_predictions.models.queries.feature_encoder import FeatureEncoder

MAP = pa.map_(pa.string(), pa.string())


def encoder_of(rows: list[dict[str, str]]) -> FeatureEncoder:
    texts = pa.array([[("plan", row["plan"])] for row in rows], MAP)
    table = pa.Table.from_pylist([{k: v for k, v in row.items() if k != "plan"} for row in rows])
    table = table.append_column("user_attributes", texts)
    return FeatureEncoder.fit(table, (), ["user_attributes"], has_weekday=False)


def test_a_text_of_one_user_with_many_pairs_is_not_kept() -> None:
    rows = [
        {"user_id": f"u{user}", "item_id": f"i{item}", "plan": plan}
        for user, plan in enumerate(("gold", "gold", "gold", "of-u3", "silver", "silver"))
        for item in range(25)
    ]
    [feature] = encoder_of(rows).texts
    assert feature.values == ("gold",)
    numbers = feature.transform(pa.table({"user_attributes": pa.array([[("plan", "of-u3")]], MAP)}))
    assert numbers.tolist() == [1.0]


def test_texts_of_other_entities_are_kept_by_their_examples() -> None:
    rows = [{"item_id": f"i{n}", "plan": "a" if n < 20 else f"b{n}"} for n in range(40)]
    [feature] = encoder_of(rows).texts
    assert feature.values == ("a",)
