"""The service on release files: the answers of the store, readiness, metrics, the command."""

from __future__ import annotations

import datetime as dt
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batch_predictions.serving.release_files.destinations import export_current
from batch_predictions.settings import HttpSettings, Settings
from batch_predictions_tests.worlds.http_service import (
    Client,
    publish_all,
    running_service,
    serve_process,
)
from batch_predictions_tests.worlds.serving import DAY, ServingWorld, open_world

ROUTES = [
    "/v1/recommendations/u1?k=3",
    "/v1/recommendations/u1?k=20&exclude=a2",
    "/v1/recommendations/ann",
    "/v1/recommendations/ann?category=things&gender=M&location=Rome",
    "/v1/recommendations/nobody?age_bracket=30",
    "/v1/users/u1",
    "/v1/users/ann",
    "/v1/users/nobody",
    "/v1/audiences/retention?limit=5",
    "/v1/audiences/retention?format=csv",
    "/v1/audiences/promotions/spring",
    "/v1/audiences/promotions/winter",
    "/v1/items/a1/sentiment",
    "/v1/items/a1/forecast",
    "/v1/items/zz/forecast",
    "/v1/orders",
    "/v1/predictions",
    "/v1/predictions/churn_scores/u1",
    "/v1/predictions/recommendations/u2?limit=2",
    "/v1/predictions/recommendations/u2?rank=3",
    "/v1/predictions/no_table/u2",
    "/v1/releases",
    "/explorer",
    "/explorer/users/u1",
    "/explorer/items/a1",
    "/explorer/retention",
    "/explorer/campaigns/spring",
    "/healthz",
    "/readyz",
]
_AGE = re.compile(rb'"age_seconds":\d+')
_OF_ONE_ANSWER = {"date", "etag"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingWorld]:
    """A home with a release of every table, exported to `files`; tests only read."""
    home = tmp_path_factory.mktemp("files") / "home"
    world = open_world(home)
    publish_all(world)
    export_current(world.settings, home.parent / "files")
    yield world
    world.store.close()


_HOME_PAGES = re.compile(
    rb'\s*<nav class="pages".*?</nav>|<h2>How well it does</h2>\s*<ul>.*?</ul>\s*', re.DOTALL
)


def machine_settings(home: Path, folder: Path) -> Settings:
    """Those of a serving machine, which has no home."""
    http = HttpSettings(release_dir=folder, release_poll_seconds=0.02, max_age_hours=None)
    return Settings(home=home, http=http)


def normalised(client: Client, path: str) -> tuple[int, dict[str, str], bytes]:
    """The answer, without what changes by the second and links to pages of the warehouse."""
    reply = client.get(path)
    headers = {k: v for k, v in reply.headers.items() if k not in _OF_ONE_ANSWER}
    body = _HOME_PAGES.sub(b"", _AGE.sub(b"", reply.body)).replace(
        b'"refused_files":0', b'"refused_files":null'
    )
    return reply.status, headers | {"content-length": ""}, body


def test_every_route_answers_as_from_the_store(shop: ServingWorld, tmp_path: Path) -> None:
    files = machine_settings(tmp_path / "none", shop.settings.home.parent / "files")
    with running_service(shop.settings) as store, running_service(files) as client:
        for path in ROUTES:
            expected = normalised(store, path)
            assert normalised(client, path) == expected, path
        body = {"users": [{"user_id": u} for u in ("u1", "ann", "nobody")], "k": 3}
        answers = [
            _AGE.sub(b"", c.send("POST", "/v1/recommendations:batch", body).body)
            for c in (store, client)
        ]
        assert answers[0] == answers[1]
        documented = {p for p, o in client.get("/openapi.json").json["paths"].items() if "get" in o}
        tried = {re.sub(r"\?.*", "", path) for path in ROUTES}
        for path in documented - {"/metrics", "/problems/{name}", "/explorer/find"}:
            pattern = re.compile(re.sub(r"\{[^}]*\}", "[^/]+", path))
            assert any(pattern.fullmatch(name) for name in tried), f"{path} is not compared"
    assert not (tmp_path / "none").exists()


def test_a_page_token_works_over_a_swap(shop: ServingWorld, tmp_path: Path) -> None:
    world = open_world(tmp_path / "home")
    publish_all(world)
    export_current(world.settings, tmp_path / "files")
    with running_service(machine_settings(tmp_path / "none", tmp_path / "files")) as client:
        first = client.get("/v1/audiences/retention", limit=4).json
        world.release(DAY + dt.timedelta(days=1), "b")
        export_current(world.settings, tmp_path / "files")
        newest = wait_for(client, lambda reply: reply["as_of"] == "2024-03-04")
        token = first["next_page_token"]
        second = client.get("/v1/audiences/retention", limit=4, page_token=token).json
        assert second["release_id"] == first["release_id"] != newest["release_id"]
    world.store.close()


def wait_for(client: Client, is_expected: Any) -> dict[str, Any]:
    """The first answer of `/readyz` that is as expected."""
    while True:
        answer: dict[str, Any] = client.get("/readyz").json
        if is_expected(answer):
            return answer


def test_readiness_and_metrics_say_what_is_refused(shop: ServingWorld, tmp_path: Path) -> None:
    world, folder = open_world(tmp_path / "home"), tmp_path / "files"
    with running_service(machine_settings(tmp_path / "none", folder)) as client:
        assert client.get("/readyz").status == 503
        assert client.get("/v1/recommendations/u1").json["type"] == "/problems/no-release"
        world.release()
        export_current(world.settings, folder)
        assert wait_for(client, lambda reply: "refused_files" in reply)["refused_files"] == 0
        assert "batch_predictions_release_files_refused 0.0" in client.get("/metrics").body.decode()
        world.release(DAY + dt.timedelta(days=1), "b")
        exporting = tmp_path / "exporting"
        export = export_current(world.settings, exporting)
        assert isinstance(export.path, Path)
        half = export.path.read_bytes()[:8192]
        (folder / export.path.name.replace("1000", "2000")).write_bytes(half)
        manifest = export.manifest.model_copy(
            update={"number": 2000, "file": export.manifest.file.replace("1000", "2000")}
        )
        (folder / manifest.name).write_text(manifest.model_dump_json())
        answer = wait_for(client, lambda reply: reply["refused_files"])
        assert (answer["as_of"], answer["refused_files"]) == ("2024-03-03", 1)
        metrics = client.get("/metrics").body.decode()
        assert "batch_predictions_release_files_refused 1.0" in metrics
        assert "batch_predictions_release_dir_readable 1.0" in metrics
        assert client.list_of("u1")["as_of"] == "2024-03-03"
    world.store.close()


@pytest.mark.slow
def test_the_command_serves_files_with_workers(shop: ServingWorld, tmp_path: Path) -> None:
    folder = str(shop.settings.home.parent / "files")
    arguments = ["--release-dir", folder, "--copy-to", str(tmp_path / "copies"), "--workers", "2"]
    with serve_process(tmp_path / "none", *arguments) as (client, process):
        assert client.list_of("u1")["source"] == "personal"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert len(list((tmp_path / "copies").glob("*.sqlite"))) == 1
