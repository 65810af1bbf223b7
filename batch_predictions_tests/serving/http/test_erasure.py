"""`DELETE /v1/users/{user_id}`: scope, durable request, the store at once, the home later."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch_predictions.core.erasures import erased_users, read_erasures
from batch_predictions.operations.erasure.erase import finish_erasures
from batch_predictions.orchestration.dagster_records import DagsterRecords
from batch_predictions.serving.release_files.destinations import export_current
from batch_predictions.settings import HttpSettings, Settings
from batch_predictions_tests.worlds.bytes_of_home import files_with
from batch_predictions_tests.worlds.http_service import publish_all, running_service
from batch_predictions_tests.worlds.serving import NOW, ServingWorld, open_world

WRITE, ADMIN = "write-0123456789abcdef", "admin-0123456789abcdef"
USER = "customer-77fae1"
EVENT = {"event_id": "e1", "event_type": "click", "user_id": "u0", "item_id": "i1"}


def test_a_user_leaves_the_store_at_once_and_the_home_with_the_next_run(
    world: ServingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_all(world)
    world.store.close()
    monkeypatch.setenv("BATCH_PREDICTIONS_HTTP_WRITE_KEYS", WRITE)
    monkeypatch.setenv("BATCH_PREDICTIONS_HTTP_ADMIN_KEYS", ADMIN)
    home = world.settings.home
    as_admin = {"Authorization": f"Bearer {ADMIN}"}
    with running_service(world.settings) as client:
        path = "/v1/recommendations/u1"
        assert client.send("DELETE", "/v1/users/u1").status == 401
        for_writing = {"Authorization": f"Bearer {WRITE}"}
        assert client.send("DELETE", "/v1/users/u1", headers=for_writing).status == 403
        assert client.get(path, headers=as_admin).json["source"] == "personal"
        for _ in range(2):  # It may be repeated.
            reply = client.send("DELETE", "/v1/users/u1", headers=as_admin)
            assert reply.status == 202 and reply.json["status"] == "pending"
            assert client.get(path, headers=as_admin).json["source"] == "popular"
        predicted = client.get("/v1/users/u1", headers=as_admin).json["predictions"]
        audience = client.get("/v1/audiences/retention?limit=100", headers=as_admin).json
        nobody = client.send("DELETE", f"/v1/users/{USER}", headers=as_admin)
        assert nobody.status == 202
    assert predicted == {}
    assert "u1" not in {row["user_id"] for row in audience["rows"]}
    log = read_erasures(home)
    assert log is not None and len(log.pending) == 2
    assert erased_users(home).matches("u1") and not erased_users(home).matches("u2")
    assert USER not in (home / "erasures.json").read_text(encoding="utf-8")
    summary = finish_erasures(world.settings, DagsterRecords(world.settings), NOW)
    assert (summary.users, summary.unknown) == (1, 1) and summary.partitions >= 5
    rows = world.warehouse.query("select distinct user_id from predictions.recommendations")
    assert sorted(rows["user_id"].to_pylist()) == ["u0", "u2"]
    assert not files_with(home, USER)
    ranks = "select list(rank order by rank) from predictions.retention_audience"
    assert world.warehouse.value(ranks) == list(range(1, 25))


def test_a_machine_without_the_home_refuses(tmp_path: Path) -> None:
    world = open_world(tmp_path / "home")
    world.release()
    export_current(world.settings, tmp_path / "files")
    world.store.close()
    http = HttpSettings(release_dir=tmp_path / "files")
    with running_service(Settings(home=tmp_path / "none", http=http)) as client:
        reply = client.send("DELETE", "/v1/users/u1")
        assert reply.status == 409 and reply.json["type"] == "/problems/no-home"
        assert client.list_of("u1")["source"] == "personal"
        for method, path, body in (
            ("PUT", "/v1/users/new", {"age_bracket": "40"}),
            ("POST", "/v1/events", {"events": [EVENT]}),
        ):
            reply = client.send(method, path, body)
            assert reply.status == 409 and reply.json["type"] == "/problems/no-place-for-writes"
    assert not (tmp_path / "none").exists()


def test_what_an_erased_user_had_posted_is_gone_and_nothing_more_is_accepted(
    world: ServingWorld,
) -> None:
    publish_all(world)
    world.store.close()
    home = world.settings.home
    event = {**EVENT, "user_id": USER}
    with running_service(world.settings) as client:
        assert client.send("PUT", f"/v1/users/{USER}", {"age_bracket": "25-34"}).status == 200
        assert client.send("POST", "/v1/events", {"events": [event]}).json["accepted"] == 1
        assert client.list_of(USER)["source"] == "demographic"
        assert client.send("DELETE", f"/v1/users/{USER}").status == 202
        assert client.list_of(USER)["source"] == "popular"
        again = client.send("PUT", f"/v1/users/{USER}", {"age_bracket": "25-34"})
        assert again.status == 409 and again.json["type"] == "/problems/erased"
        other = {**EVENT, "event_id": "e2"}
        mixed = client.send("POST", "/v1/events", {"events": [{**event, "event_id": "e3"}, other]})
        assert mixed.json["accepted"] == 1 and mixed.json["refused"][0]["index"] == 0
    # The service has removed the only rows of the user.
    summary = finish_erasures(world.settings, DagsterRecords(world.settings), NOW)
    assert (summary.users, summary.unknown) == (1, 0)
    assert not files_with(home, USER)
