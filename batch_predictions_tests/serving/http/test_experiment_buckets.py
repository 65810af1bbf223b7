"""A share of the users is served another list, and answers and events say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_predictions.serving.http.experiment_buckets import Experiments
from batch_predictions.settings import ExperimentSettings, ServingSettings, Settings
from batch_predictions.sources.posted_rows.reader import PostedRows
from batch_predictions.tables import TABLES, Table
from batch_predictions.tables.base import columns, declare
from batch_predictions_tests.serving.http.test_writes import ALL_TIME
from batch_predictions_tests.worlds.http_service import running_service
from batch_predictions_tests.worlds.serving import DAY, open_world

CHALLENGER = Table(
    "predictions",
    "challenger_lists",
    "Lists of a challenger.",
    columns("""
        date DATE: as of the end of this day
        user_id VARCHAR: user
        rank BIGINT: 1 is best
        item_id VARCHAR: recommended item
        score DOUBLE: score
        model_version VARCHAR: version of the model
    """),
    key=("user_id", "rank"),
)


def experiments(**shares: float) -> Experiments:
    return Experiments({name: ExperimentSettings(share=share) for name, share in shares.items()})


@given(user=st.text(max_size=20), share=st.floats(0.01, 0.99))
def test_a_user_is_always_assigned_alike_and_stays_when_the_share_grows(
    user: str, share: float
) -> None:
    assigned = experiments(a=share).assign(user, {})
    assert assigned == experiments(a=share).assign(user, {})
    if assigned:
        assert experiments(a=min(0.999, share * 1.1)).assign(user, {}) == assigned


def test_shares_are_met_and_experiments_are_independent() -> None:
    chosen = experiments(a=0.2, b=0.5)
    buckets = [chosen.assign(f"user-{n}", {}) for n in range(20_000)]
    names = [assigned.bucket if assigned else None for assigned in buckets]
    assert names.count("a") / len(names) == pytest.approx(0.2, abs=0.01)
    # Half of those that the first one left.
    assert names.count("b") / len(names) == pytest.approx(0.4, abs=0.01)


def test_an_experiment_has_a_name_and_a_share() -> None:
    for wrong in ({"a b": {"share": 0.1}}, {"a": {"share": 1.0}}, {"a": {"share": 0.1, "x": 1}}):
        with pytest.raises(ValueError, match="experiments"):
            ServingSettings.model_validate({"experiments": wrong})


def with_experiments(home: Path, **lists: str) -> Settings:
    return Settings(
        home=home,
        serving=ServingSettings(
            experiments={
                name: ExperimentSettings(share=0.4, list=list_) for name, list_ in lists.items()
            }
        ),
    )


def test_users_of_a_bucket_get_its_list_and_their_events_its_name(tmp_path: Path) -> None:
    declare(CHALLENGER)
    world = open_world(tmp_path / "home")
    world.predict(users=60)
    world.warehouse.replace_partition(
        CHALLENGER,
        str(DAY),
        "select 'u' || u as user_id, r as rank, 'c' || r as item_id, 1.0 / r as score, "
        "'challenger-1' as model_version from range(60) as a(u), range(1, 5) as b(r)",
    )
    world.publish(DAY, CHALLENGER)
    settings = with_experiments(tmp_path / "home", b=CHALLENGER.name, f="fallback", x="absent")
    answers: dict[str | None, list[dict[str, Any]]] = {}
    with running_service(settings) as client:
        for user in range(60):
            answer = client.list_of(f"u{user}", k=2)
            answers.setdefault(answer["bucket"], []).append(answer)
            listed = client.get(f"/v1/users/u{user}").json["recommendations"]
            assert listed["bucket"] == answer["bucket"]
        batch = {"users": [{"user_id": answers["b"][0]["user_id"]}], "k": 2}
        reply = client.send("POST", "/v1/recommendations:batch", batch).json
        assert reply["answers"][0]["recommendation_id"] == answers["b"][0]["recommendation_id"]
        events = [
            {
                "event_id": str(bucket),
                "event_type": "click",
                "user_id": found[0]["user_id"],
                "item_id": "c1",
                "recommendation_id": found[0]["recommendation_id"],
            }
            for bucket, found in answers.items()
        ]
        assert client.send("POST", "/v1/events", {"events": events}).json["accepted"] == 3
    assert set(answers) == {None, "b", "f"}, "an experiment whose table is absent has no users"
    for answer in answers["b"]:
        assert answer["source"] == "personal" and answer["model_version"] == "challenger-1"
        assert [item["item_id"] for item in answer["items"]] == ["c1", "c2"]
    assert {answer["source"] for answer in answers["f"]} == {"popular"}
    assert {answer["model_version"] for answer in answers[None]} == {"als-a"}
    stored = [
        row for batch in PostedRows.of(settings).events(*ALL_TIME) for row in batch.to_pylist()
    ]
    assert {row["event_id"]: row["bucket"] for row in stored} == {
        "None": None,
        "b": "b",
        "f": "f",
    }
    world.store.close()
    del TABLES[CHALLENGER.qualified]
