"""Lists over HTTP: which items, filters, ids, caching, batches; quick route and FastAPI alike."""

from __future__ import annotations

import datetime as dt
import random
import re
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_predictions.serving.http.recommendation_answers import ListRequest, fill, release_id_of
from batch_predictions.serving.http.request_gate import Gate
from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.lookup.ranked import RankedItem, RankedList
from batch_predictions.serving.release.sign_ups import add_sign_ups
from batch_predictions.serving.server.http_app import make_api
from batch_predictions.settings import HttpSettings, IdRule, Settings
from batch_predictions.tables import ITEM_STATE, RECOMMENDATIONS
from batch_predictions_tests.worlds.http_service import running_service
from batch_predictions_tests.worlds.serving import DAY, ServingWorld
from batch_predictions_tests.worlds.table_rows import named_rows, write_rows

NEXT = DAY + dt.timedelta(days=1)
CATEGORIES = ["fruit", "Wine", None]


def make_lists(texts: list[list[tuple[int, int]]]) -> list[RankedList]:
    """Lists of (item, category) numbers; the last is that of everyone."""
    sources = ["personal", *["demographic"] * (len(texts) - 2), "popular"][-len(texts) :]
    return [
        RankedList(
            source,
            None if source == "personal" else {"level": source},
            f"model-{source}",
            tuple(
                RankedItem(rank, f"i{item}", f"I {item}", 1 / rank, "why", CATEGORIES[category])
                for rank, (item, category) in enumerate(items, 1)
            ),
        )
        for source, items in zip(sources, texts, strict=True)
    ]


LISTS = st.lists(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=1, max_size=8),
    min_size=1,
    max_size=4,
).map(make_lists)
REQUESTS = st.builds(
    ListRequest,
    user_id=st.just("u"),
    attributes=st.just({}),
    k=st.integers(1, 12),
    exclude=st.frozensets(st.integers(0, 9).map("i{}".format)),
    categories=st.frozensets(st.sampled_from(["fruit", "wine", "none of these"])),
)


@given(LISTS, REQUESTS)
def test_a_filled_list_is_what_the_filters_leave_of_all_lists_in_order(
    lists: list[RankedList], request: ListRequest
) -> None:
    """Compared with the plainest way: all items of all lists, then each filter."""
    every: dict[str, RankedItem] = {}
    for ranked in lists:
        for item in ranked.items:
            # An item may have one category only; that of its first place counts here.
            every.setdefault(item.item_id, item)

    filled = fill(iter(lists), request)
    ids = [item.item_id for item, _ in filled.items]
    assert 1 <= len(ids) <= request.k and len(set(ids)) == len(ids)
    if "exclude" not in filled.relaxed:
        assert not set(ids) & request.exclude
    if request.categories and "category" not in filled.relaxed:
        assert {(i.category or "").casefold() for i, _ in filled.items} <= request.categories
    if not request.categories:
        wanted = [i for i in every if i not in request.exclude] or list(every)
        assert ids == wanted[: request.k]
        assert filled.relaxed == ([] if set(every) - request.exclude else ["exclude"])


def test_filters_take_away_and_the_next_lists_fill_up() -> None:
    lists = make_lists([[(1, 0), (2, 1)], [(3, 1), (1, 0)], [(4, 0), (5, 1)]])

    def ids(**parameters: Any) -> list[str]:
        request = ListRequest("u", {}, **parameters)
        return [item.item_id for item, _ in fill(lists, request).items]

    assert ids(k=2) == ["i1", "i2"]
    assert ids(k=4) == ["i1", "i2", "i3", "i4"]
    assert ids(k=3, exclude=frozenset({"i2"})) == ["i1", "i3", "i4"]
    assert ids(k=3, categories=frozenset({"wine"})) == ["i2", "i3", "i5"]


def test_a_later_list_is_not_read_if_those_before_it_suffice() -> None:
    lists = make_lists([[(1, 0), (2, 0)], [(3, 0)]])

    def read() -> Any:
        yield lists[0]
        raise AssertionError("read in vain")

    assert len(fill(read(), ListRequest("u", {}, k=2)).items) == 2


def test_an_answer_says_of_whom_from_where_and_how_old(world: ServingWorld) -> None:
    release = world.release()
    with running_service(world.settings) as client:
        answer = client.list_of("u1", k=2)
    assert answer.pop("age_seconds") > 0
    assert re.fullmatch(f"{release.release_id}-[0-9a-f]{{24}}", answer.pop("recommendation_id"))
    items = answer.pop("items")
    assert answer == {
        "user_id": "u1",
        "source": "personal",
        "release_id": release.release_id,
        "as_of": "2024-03-03",
        "model_version": "als-a",
        "bucket": None,
        "segment": None,
        "relaxed": [],
    }
    assert items[0] == {
        "rank": 1,
        "item_id": "a2",
        "title": "Title a2",
        "score": 1.0,
        "reason": "trending",
        "category": "things",
        "source": "personal",
    }


def test_the_service_answers_as_the_lookup_does(world: ServingWorld) -> None:
    world.release()
    with running_service(world.settings) as client, Lookup(world.settings) as lookup:
        for user in ("u0", "ann", "bob", "nobody"):
            for attributes in ({}, {"age_bracket": "37"}, {"gender": "F", "location": "Berlin"}):
                expected = lookup.recommendations(user, k=3, **attributes)
                answer = client.list_of(user, k=3, **attributes)
                for key in ("source", "segment", "model_version", "release_id", "as_of"):
                    assert answer[key] == expected[key], (user, attributes, key)
                keys = ("rank", "item_id", "title", "score", "reason")
                items = [{key: item[key] for key in keys} for item in answer["items"]]
                assert items == expected["items"]


def test_more_items_than_the_list_has_come_from_the_next_segments(world: ServingWorld) -> None:
    world.release()  # lists of four items: u1 has a2 to a5, segments have a1 to a4
    with running_service(world.settings) as client:
        answer = client.list_of("u1", k=50)
        assert [item["item_id"] for item in answer["items"]] == ["a2", "a3", "a4", "a5", "a1"]
        assert [item["rank"] for item in answer["items"]] == [1, 2, 3, 4, 5]
        assert [item["source"] for item in answer["items"]] == ["personal"] * 4 + ["popular"]
        answer = client.list_of("u1", k=3, exclude=["a2", "a4"])
        assert [item["item_id"] for item in answer["items"]] == ["a3", "a5", "a1"]
        answer = client.list_of("u1", category="THINGS", k=1)
        assert answer["relaxed"] == [] and answer["items"][0]["category"] == "things"


def test_a_filter_that_leaves_nothing_is_not_applied_and_named(world: ServingWorld) -> None:
    world.release()
    with running_service(world.settings) as client:
        answer = client.list_of("u1", k=2, category="cars")
        assert [item["item_id"] for item in answer["items"]] == ["a2", "a3"]
        assert answer["relaxed"] == ["category"]
        every = [f"a{n}" for n in range(10)]
        answer = client.list_of("nobody", exclude=every)
        assert len(answer["items"]) == 4 and answer["relaxed"] == ["exclude"]


def test_the_id_names_release_user_and_parameters(world: ServingWorld) -> None:
    world.release()
    with running_service(world.settings) as client:

        def id_of(user: str, **parameters: Any) -> str:
            text: str = client.list_of(user, **parameters)["recommendation_id"]
            return text

        first = id_of("u1", k=3, exclude=["a9", "a8"])
        assert first == id_of("u1", exclude=["a8", "a9"], k=3)
        others = [
            id_of("u1", k=3),
            id_of("u1", k=2, exclude=["a9", "a8"]),
            id_of("u2", k=3, exclude=["a9", "a8"]),
            id_of("u1", k=3, exclude=["a9", "a8"], category="things"),
            id_of("ann"),
            id_of("ann", gender="M"),
        ]
        world.release(NEXT, "b")
        client.refresh()
        others.append(id_of("u1", k=3, exclude=["a9", "a8"]))
        assert len({first, *others}) == 8


def test_a_known_answer_is_304_until_the_release_changes(world: ServingWorld) -> None:
    world.release()
    with running_service(world.settings) as client:
        for path in ("/v1/recommendations/u1", "/v1/recommendations/ann", "/v1/users/u1"):
            tag = client.get(path).headers["etag"]
            reply = client.get(path, {"If-None-Match": f'"other", {tag}'})
            assert (reply.status, reply.body) == (304, b"")
            assert reply.headers["etag"] == tag and "cache-control" in reply.headers
            assert client.get(path, {"If-None-Match": '"other"'}).status == 200
        assert client.get("/v1/recommendations/u1", {"If-None-Match": tag}, k=1).status == 200
        tag = client.get("/v1/recommendations/u1").headers["etag"]
        world.release(NEXT, "b")
        client.refresh()
        assert client.get("/v1/recommendations/u1", {"If-None-Match": tag}).status == 200


def test_the_age_grows_while_the_tag_stays(
    world: ServingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.release()
    end_of_day = dt.datetime(2024, 3, 4, tzinfo=dt.UTC).timestamp()
    moment = end_of_day + 100.5
    monkeypatch.setattr("batch_predictions.serving.server.list_route.time.time", lambda: moment)
    with running_service(world.settings) as client:
        first = client.get("/v1/recommendations/u1", k=2)
        assert first.json["age_seconds"] == 100
        # The release of 4 March is due when that day has ended.
        assert first.headers["cache-control"] == f"private, max-age={86_400 - 101}"
        assert client.get("/v1/recommendations/ann").headers["cache-control"] == "private, no-cache"
        moment = end_of_day + 86_400
        second = client.get("/v1/recommendations/u1", k=2)
        assert second.json["age_seconds"] == 86_400
        assert second.headers["cache-control"] == "private, no-cache"
        assert second.headers["etag"] == first.headers["etag"]


def test_a_sign_up_changes_the_next_answer(world: ServingWorld) -> None:
    world.release()
    with running_service(world.settings) as client:
        before = client.get("/v1/recommendations/new")
        assert before.json["source"] == "popular"
        add_sign_ups(world.store, [{"user_id": "new", "age_bracket": "29", "gender": "F"}])
        after = client.get("/v1/recommendations/new", {"If-None-Match": before.headers["etag"]})
        assert after.status == 200 and after.json["segment"]["level"] == "age_gender"


def test_any_id_can_be_asked_for(world: ServingWorld) -> None:
    users = ["a/b", "50%", "ü ?#&=+", "..", "{x}", ":batch", "a%2Fb"]
    world.predict()
    lists = [(user, 1, "a1") for user in users]
    names = "user_id rank item_id"
    write_rows(world.warehouse, RECOMMENDATIONS, named_rows(names, lists, date=DAY, score=1.0))
    world.publish()
    with running_service(world.settings) as client:
        for user in users:
            answer = client.list_of(user)
            assert (answer["user_id"], answer["source"]) == (user, "personal")
            path = f"/v1/users/{quote(user, safe='')}"
            assert client.get(path).json["recommendations"]["source"] == "personal"
            path = f"/v1/predictions/recommendations/{quote(user, safe='')}"
            assert client.get(path).json["rows"][0]["user_id"] == user


def test_ids_are_written_as_the_source_writes_them(world: ServingWorld) -> None:
    world.release()
    settings = Settings(home=world.settings.home, serving=world.settings.serving)
    settings.source.ids = {"user_id": IdRule(case="lower"), "item_id": IdRule(case="lower")}
    with running_service(settings) as client:
        answer = client.list_of("U1", exclude="A2")
        assert (answer["user_id"], answer["source"]) == ("u1", "personal")
        assert answer["items"][0]["item_id"] == "a3"
        reply = client.send(
            "POST", "/v1/recommendations:batch", {"users": [{"user_id": "U1"}], "exclude": ["A2"]}
        )
        assert reply.json["answers"][0]["items"] == answer["items"]
        assert reply.json["answers"][0]["user_id"] == "u1"


def test_the_quick_route_and_fastapi_answer_alike(world: ServingWorld) -> None:
    world.release()
    generator = random.Random(3)
    with (
        running_service(world.settings) as quick,
        running_service(world.settings, _without_quick_route(world.settings)) as plain,
    ):
        for _ in range(60):
            parameters: dict[str, Any] = {
                name: generator.choice(values)
                for name, values in PARAMETERS.items()
                if generator.random() < 0.4
            }
            path = f"/v1/recommendations/{generator.choice(['u1', 'ann', 'nobody'])}"
            replies = [client.get(path, **parameters) for client in (quick, quick, plain)]
            assert len({reply.status for reply in replies}) == 1, parameters
            bodies = [reply.json for reply in replies]
            for body in bodies:
                body.pop("age_seconds", None)
            assert bodies[0] == bodies[1] == bodies[2], parameters
            assert len({reply.headers.get("etag") for reply in replies}) == 1


PARAMETERS: dict[str, list[Any]] = {
    "k": [1, 3, 500, 0, 501, "x", "", "1.0", "-1", "٣"],
    "exclude": ["a2", ["a2", "a3"], "", "x" * 600, "a\0"],
    "category": ["things", "THINGS", "cars", ["cars", "things"]],
    "age_bracket": ["25-34", "29", "unknown", ""],
    "gender": ["F", "f", "\n"],
    "location": ["Berlin", ["Berlin", "Rome"]],
    "unknown": ["1"],
}


def _without_quick_route(settings: Settings) -> Any:
    from batch_predictions.serving.http.service import PredictionService

    service = PredictionService(settings)
    return Gate(make_api(service), service)


def test_a_batch_answers_for_each_user_in_order(world: ServingWorld) -> None:
    release = world.release()
    body = {
        "users": [
            {"user_id": "u2", "exclude": ["a3"]},
            {"user_id": "nobody", "age_bracket": "37"},
            {"user_id": "u2"},
        ],
        "k": 2,
        "exclude": ["a4"],
    }
    with running_service(world.settings) as client:
        reply = client.send("POST", "/v1/recommendations:batch", body)
        assert reply.status == 200
        answer = reply.json
        assert answer["release_id"] == release.release_id
        assert answer["model_version"] == "als-a" and release_id_of(answer["recommendation_id"])
        lists = [[item["item_id"] for item in entry["items"]] for entry in answer["answers"]]
        assert lists == [["a5", "a6"], ["a1", "a2"], ["a3", "a5"]]
        assert answer["answers"][1]["segment"] == {"level": "age", "age_bracket": "35-44"}
        single = client.list_of("u2", k=2, exclude=["a4"])
        assert answer["answers"][2]["recommendation_id"] == single["recommendation_id"]
        many = {"users": [{"user_id": f"u{n}"} for n in range(1_000)], "k": 1}
        assert len(client.send("POST", "/v1/recommendations:batch", many).json["answers"]) == 1_000
        many["users"] *= 2  # type: ignore[operator]
        reply = client.send("POST", "/v1/recommendations:batch", many)
        assert reply.status == 422 and "body.users" in reply.json["detail"]


def test_memory_for_answers_is_bounded(world: ServingWorld) -> None:
    world.predict(users=300)
    world.publish()
    settings = Settings(
        home=world.settings.home,
        serving=world.settings.serving,
        http=HttpSettings(cache_mb=0),
    )
    with running_service(settings) as client:
        assert client.service is not None and client.list_of("u1")["source"] == "personal"
        current = client.service.watcher.current
        assert current is not None and len(current.answers) == 0
    with running_service(world.settings) as client:
        for n in range(20):
            client.list_of(f"u{n}", k=2)
        client.list_of("nobody")  # may change with a sign-up: not kept
        assert client.service is not None and client.service.watcher.current is not None
        assert len(client.service.watcher.current.answers) == 20


def test_items_without_a_category_or_a_title(world: ServingWorld) -> None:
    world.predict()
    row = {"date": DAY, "item_id": "a1", "is_excluded": False, "available": True}
    write_rows(world.warehouse, ITEM_STATE, [row])
    world.publish()
    with running_service(world.settings) as client:
        answer = client.list_of("nobody", category="things")
    assert answer["relaxed"] == ["category"]
    assert answer["items"][0]["title"] == "a1" and answer["items"][0]["category"] is None
