"""Lookups: who is offered what, and from where."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest

from batch_predictions.serving.lookup import Lookup, NoReleaseError, NotPublishedError
from batch_predictions.serving.release.publish import publish, rollback
from batch_predictions.serving.sign_ups import add_sign_ups
from batch_predictions.settings import Settings
from batch_predictions.tables import RECOMMENDATIONS
from batch_predictions_tests.worlds.serving import DAY, NOW, World

NEXT = DAY + dt.timedelta(days=1)


def segment(here: World, user: str = "nobody", **attributes: str) -> dict[str, str]:
    with Lookup(here.settings) as up:
        found: dict[str, str] = up.recommendations(user, **attributes)["segment"]  # type: ignore[arg-type]
        return found


def test_a_user_with_a_list_gets_it(here: World) -> None:
    release = here.release()
    with Lookup(here.settings) as up:
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


def test_a_known_user_without_a_list_gets_that_of_the_own_segment(here: World) -> None:
    here.release()
    with Lookup(here.settings) as up:
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


def test_nobody_known_gets_what_is_popular(here: World) -> None:
    here.release()
    with Lookup(here.settings) as up:
        for user in ("nobody", "bob"):  # bob is known, all his attributes are not
            answer = up.recommendations(user)
            assert answer["source"] == "popular"
            assert answer["segment"] == {"level": "everyone"}
            assert [item["reason"] for item in answer["items"]] == ["popular"] * 4


def test_levels_are_searched_from_the_most_specific(here: World) -> None:
    here.release()
    young, woman, berlin = {"age_bracket": "25-34"}, {"gender": "F"}, {"location": "Berlin"}
    assert segment(here, **young, **woman, **berlin)["level"] == "age_gender_location"
    assert segment(here, **young, gender="M", **berlin)["level"] == "age_location"
    assert segment(here, **young, **woman, location="Oslo")["level"] == "age_gender"
    assert segment(here, age_bracket="65+", **woman, **berlin)["level"] == "gender_location"
    assert segment(here, **young, gender="M", location="Oslo") == {"level": "age", **young}
    assert segment(here, age_bracket="65+", gender="M", **berlin)["level"] == "location"
    assert segment(here, **woman) == {"level": "gender", **woman}
    assert segment(here, age_bracket="65+", gender="M", location="Oslo") == {"level": "everyone"}


def test_arguments_win_and_are_completed_by_what_is_known(here: World) -> None:
    here.release()
    assert segment(here, "ann", gender="M")["level"] == "age_location"
    assert segment(here, "ann", gender="unknown")["level"] == "age_gender_location"
    assert segment(here, "ann", age_bracket="35-44", gender="M", location="Rome") == {
        "level": "age_gender_location",
        "age_bracket": "35-44",
        "gender": "M",
        "location": "Rome",
    }


def test_an_unknown_attribute_is_not_matched(here: World) -> None:
    here.release()  # it has rows of the location unknown
    for location in ("unknown", "Unknown", "", " "):
        assert segment(here, location=location) == {"level": "everyone"}


def test_an_age_is_its_bracket(here: World) -> None:
    here.release()
    for age in ("37", " 37 ", "35-44"):
        assert segment(here, age_bracket=age) == {"level": "age", "age_bracket": "35-44"}
    with Lookup(here.settings) as up:
        assert up.recommendations("nobody", age_bracket=37)["segment"]["age_bracket"] == "35-44"


def test_a_user_who_signs_up_is_known_at_once(here: World) -> None:
    with pytest.raises(NoReleaseError):
        add_sign_ups(here.store, [{"user_id": "new"}])
    here.release()
    new = {"user_id": "new", "age_bracket": "29", "gender": "F", "signed_up_on": "2024-03-04"}
    assert add_sign_ups(here.store, [new], simulated=True) == 1
    assert segment(here, "new")["level"] == "age_gender"
    # What is given later completes it; what is not given stays.
    assert add_sign_ups(here.store, [{"user_id": "new", "location": "Berlin"}]) == 1
    assert segment(here, "new")["level"] == "age_gender_location"
    assert add_sign_ups(here.store, []) == 0


def test_sign_ups_are_all_or_none(here: World) -> None:
    here.release()
    with pytest.raises(ValueError, match="no user_id"):
        add_sign_ups(here.store, [{"user_id": "new", "gender": "F"}, {"gender": "F"}])
    with pytest.raises(ValueError, match="has shoe_size, which"):
        add_sign_ups(here.store, [{"user_id": "new", "shoe_size": "42"}])
    assert segment(here, "new") == {"level": "everyone"}


def test_sign_ups_outlive_releases_until_the_warehouse_knows_them(here: World) -> None:
    here.release()
    add_sign_ups(
        here.store,
        [
            {"user_id": "new", "gender": "F"},
            {"user_id": "bob", "gender": "F"},  # whose gender the warehouse does not know
            {"user_id": "ann", "location": "Oslo"},  # whose location it does
        ],
        simulated=True,
    )
    for day in (NEXT, NEXT + dt.timedelta(days=1)):
        here.release(day)
        assert segment(here, "new") == {"level": "gender", "gender": "F"}
        assert segment(here, "bob") == {"level": "gender", "gender": "F"}
        assert segment(here, "ann")["level"] == "age_gender_location"
    add_sign_ups(here.store, [{"user_id": "newer", "gender": "F"}])
    rollback(here.store)
    assert segment(here, "newer") == {"level": "gender", "gender": "F"}


def test_without_a_release_the_error_says_what_to_run(here: World, tmp_path: Path) -> None:
    nowhere = Settings(home=tmp_path / "nowhere")
    with Lookup(nowhere) as up, pytest.raises(NoReleaseError, match="batch-predictions run"):
        up.recommendations("u1")
    assert not nowhere.home.exists()
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    with Lookup(f"sqlite:///{empty}") as up, pytest.raises(NoReleaseError):
        up.recommendations("u1")
    with Lookup(here.settings) as up:
        with pytest.raises(NoReleaseError):
            up.freshness(DAY)
        here.release()  # the same lookup finds it
        assert up.freshness(NEXT)["age_days"] == 1


def test_rows_by_key(here: World) -> None:
    here.release()
    with Lookup(here.settings) as up:
        assert [row["rank"] for row in up.rows("recommendations", user_id="u2")] == [1, 2, 3, 4]
        assert up.rows("recommendations", user_id="u2", rank="3")[0]["item_id"] == "a5"
        assert up.rows("recommendations", user_id="nobody") == []
        assert len(up.rows("recommendations", limit=5)) == 5
        (one,) = up.rows(
            "demographic_recommendations", segment_level="age", age_bracket="35-44", rank=1
        )
        assert one["gender"] == ""
        with pytest.raises(NotPublishedError, match="has no table releases"):
            up.rows("releases")
        with pytest.raises(NotPublishedError, match="has no column shoe_size"):
            up.rows("recommendations", shoe_size=1)


def test_a_release_without_fallback_says_so_to_unknown_users(here: World) -> None:
    here.predict()
    publish(here.store, here.warehouse, DAY, [RECOMMENDATIONS], keep=2, now=NOW)
    with Lookup(here.settings) as up:
        assert up.recommendations("u1")["source"] == "personal"
        with pytest.raises(NotPublishedError, match="no table demographic_recommendations"):
            up.recommendations("nobody")


def test_an_application_loads_neither_dagster_nor_the_warehouse() -> None:
    program = (
        "import sys, batch_predictions.serving.lookup, batch_predictions.serving.sign_ups\n"
        "heavy = {'dagster', 'duckdb', 'pyarrow', 'pandas', 'numpy', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
