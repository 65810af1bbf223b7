"""Lookups: which list a user gets, rows by key, sign-ups, errors."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest

from batch_predictions.serving.lookup import Lookup, NoReleaseError, NotPublishedError
from batch_predictions.serving.release.publish import publish
from batch_predictions.serving.release.release_records import rollback
from batch_predictions.serving.release.sign_ups import add_sign_ups
from batch_predictions.settings import Settings
from batch_predictions.tables import RECOMMENDATIONS
from batch_predictions_tests.worlds.serving import DAY, NOW, ServingWorld

NEXT = DAY + dt.timedelta(days=1)


def segment(world: ServingWorld, user: str = "nobody", **attributes: str) -> dict[str, str]:
    with Lookup(world.settings) as up:
        answer = up.recommendations(user, **attributes)  # type: ignore[arg-type]
    values: dict[str, str] = answer["segment"]
    return values


def test_a_user_with_a_personal_list_gets_it(world: ServingWorld) -> None:
    release = world.release()
    with Lookup(world.settings) as up:
        assert up.recommendations("u1", location="Berlin", k=2) == {
            "user_id": "u1",
            "source": "personal",
            "release_id": release.release_id,
            "as_of": "2024-03-03",
            "model_version": "als-a",
            "segment": None,
            "items": [
                {
                    "rank": 1,
                    "item_id": "a2",
                    "title": "Title a2",
                    "score": 1.0,
                    "reason": "trending",
                },
                {
                    "rank": 2,
                    "item_id": "a3",
                    "title": "Title a3",
                    "score": 0.5,
                    "reason": "trending",
                },
            ],
        }
        assert len(up.recommendations("u1")["items"]) == 4
        with pytest.raises(ValueError, match="at least one"):
            up.recommendations("u1", k=0)


def test_a_known_user_without_a_list_gets_that_of_their_segment(world: ServingWorld) -> None:
    world.release()
    with Lookup(world.settings) as up:
        answer = up.recommendations("ann", k=1)
    assert answer["source"] == "demographic"
    assert answer["segment"] == {
        "level": "age_gender_location",
        "age_bracket": "25-34",
        "gender": "F",
        "location": "Berlin",
    }
    assert answer["items"][0]["reason"] == "popular_with_your_segment"
    assert answer["model_version"] == "demo-a"


def test_a_user_without_attributes_gets_popular_items(world: ServingWorld) -> None:
    world.release()
    with Lookup(world.settings) as up:
        for user in ("nobody", "bob"):  # bob is known, but none of his attributes
            answer = up.recommendations(user)
            assert answer["source"] == "popular"
            assert answer["segment"] == {"level": "everyone"}
            assert [item["reason"] for item in answer["items"]] == ["popular"] * 4


def test_levels_are_searched_from_the_most_specific(world: ServingWorld) -> None:
    world.release()
    young, woman, berlin = {"age_bracket": "25-34"}, {"gender": "F"}, {"location": "Berlin"}
    assert segment(world, **young, **woman, **berlin)["level"] == "age_gender_location"
    assert segment(world, **young, gender="M", **berlin)["level"] == "age_location"
    assert segment(world, **young, **woman, location="Oslo")["level"] == "age_gender"
    assert segment(world, age_bracket="65+", **woman, **berlin)["level"] == "gender_location"
    assert segment(world, **young, gender="M", location="Oslo") == {"level": "age", **young}
    assert segment(world, age_bracket="65+", gender="M", **berlin)["level"] == "location"
    assert segment(world, **woman) == {"level": "gender", **woman}
    assert segment(world, age_bracket="65+", gender="M", location="Oslo") == {"level": "everyone"}


def test_arguments_replace_stored_attributes(world: ServingWorld) -> None:
    world.release()
    assert segment(world, "ann", gender="M")["level"] == "age_location"
    assert segment(world, "ann", gender="unknown")["level"] == "age_gender_location"
    assert segment(world, "ann", age_bracket="35-44", gender="M", location="Rome") == {
        "level": "age_gender_location",
        "age_bracket": "35-44",
        "gender": "M",
        "location": "Rome",
    }


def test_an_unknown_attribute_is_not_matched(world: ServingWorld) -> None:
    world.release()  # it has rows of the location unknown
    for location in ("unknown", "Unknown", "", " "):
        assert segment(world, location=location) == {"level": "everyone"}


def test_an_age_is_converted_to_its_bracket(world: ServingWorld) -> None:
    world.release()
    for age in ("37", " 37 ", "35-44"):
        assert segment(world, age_bracket=age) == {"level": "age", "age_bracket": "35-44"}
    with Lookup(world.settings) as up:
        assert up.recommendations("nobody", age_bracket=37)["segment"]["age_bracket"] == "35-44"


def test_a_sign_up_is_known_to_the_next_lookup(world: ServingWorld) -> None:
    with pytest.raises(NoReleaseError):
        add_sign_ups(world.store, [{"user_id": "new"}])
    world.release()
    new = {"user_id": "new", "age_bracket": "29", "gender": "F", "signed_up_on": "2024-03-04"}
    assert add_sign_ups(world.store, [new], simulated=True) == 1
    assert segment(world, "new")["level"] == "age_gender"
    # Later attributes are added; the others stay.
    assert add_sign_ups(world.store, [{"user_id": "new", "location": "Berlin"}]) == 1
    assert segment(world, "new")["level"] == "age_gender_location"
    assert add_sign_ups(world.store, []) == 0


def test_a_wrong_sign_up_adds_none_of_the_others(world: ServingWorld) -> None:
    world.release()
    with pytest.raises(ValueError, match="no user_id"):
        add_sign_ups(world.store, [{"user_id": "new", "gender": "F"}, {"gender": "F"}])
    with pytest.raises(ValueError, match="has shoe_size, for which the store has no column"):
        add_sign_ups(world.store, [{"user_id": "new", "shoe_size": "42"}])
    assert segment(world, "new") == {"level": "everyone"}


def test_sign_ups_are_carried_forward_until_the_warehouse_has_them(world: ServingWorld) -> None:
    world.release()
    add_sign_ups(
        world.store,
        [
            {"user_id": "new", "gender": "F"},
            {"user_id": "bob", "gender": "F"},  # the warehouse has no gender of bob
            {"user_id": "ann", "location": "Oslo"},  # it has ann's location
        ],
        simulated=True,
    )
    for day in (NEXT, NEXT + dt.timedelta(days=1)):
        world.release(day)
        assert segment(world, "new") == {"level": "gender", "gender": "F"}
        assert segment(world, "bob") == {"level": "gender", "gender": "F"}
        assert segment(world, "ann")["level"] == "age_gender_location"
    add_sign_ups(world.store, [{"user_id": "newer", "gender": "F"}])
    rollback(world.store)
    assert segment(world, "newer") == {"level": "gender", "gender": "F"}


def test_the_error_without_a_release_says_what_to_run(world: ServingWorld, tmp_path: Path) -> None:
    new_home = Settings(home=tmp_path / "new")
    with Lookup(new_home) as up, pytest.raises(NoReleaseError, match="batch-predictions run"):
        up.recommendations("u1")
    assert not new_home.home.exists()
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    with Lookup(f"sqlite:///{empty}") as up, pytest.raises(NoReleaseError):
        up.recommendations("u1")
    with Lookup(world.settings) as up:
        with pytest.raises(NoReleaseError):
            up.freshness(DAY)
        world.release()  # the same lookup finds it
        assert up.freshness(NEXT)["age_days"] == 1


def test_rows_by_key(world: ServingWorld) -> None:
    world.release()
    with Lookup(world.settings) as up:
        assert [row["rank"] for row in up.rows("recommendations", user_id="u2")] == [1, 2, 3, 4]
        assert up.rows("recommendations", user_id="u2", rank="3")[0]["item_id"] == "a5"
        assert up.rows("recommendations", user_id="nobody") == []
        assert len(up.rows("recommendations", limit=5)) == 5
        frame = up.frame("recommendations", user_id="u2")
        assert frame["rank"].tolist() == [1, 2, 3, 4] and frame["rank"].dtype == "Int64"
        assert up.frame("recommendations", user_id="nobody").empty
        (row,) = up.rows(
            "demographic_recommendations", segment_level="age", age_bracket="35-44", rank=1
        )
        assert row["gender"] == ""
        with pytest.raises(NotPublishedError, match="has no table releases"):
            up.rows("releases")
        with pytest.raises(NotPublishedError, match="has no column shoe_size"):
            up.rows("recommendations", shoe_size=1)
        with pytest.raises(ValueError, match="rank has the type int, 'first' is not of it"):
            up.rows("recommendations", rank="first")


def test_without_a_fallback_table_unknown_users_get_an_error(world: ServingWorld) -> None:
    world.predict()
    publish(world.store, world.warehouse, DAY, [RECOMMENDATIONS], keep=2, now=NOW)
    with Lookup(world.settings) as up:
        assert up.recommendations("u1")["source"] == "personal"
        with pytest.raises(NotPublishedError, match="no table demographic_recommendations"):
            up.recommendations("nobody")


def test_an_application_imports_neither_dagster_nor_the_warehouse() -> None:
    program = (
        "import sys, batch_predictions.serving.lookup, batch_predictions.serving.release.sign_ups\n"
        "heavy = {'dagster', 'duckdb', 'pyarrow', 'pandas', 'numpy', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
