"""Who sees the explorer's pages: the rules of the other addresses, with dialogues for browsers."""

from __future__ import annotations

import base64
import configparser
from pathlib import Path

import pytest

from batch_predictions.serving.http.access import AccessControl
from batch_predictions.serving.http.problems import ProblemError
from batch_predictions.settings import HttpSettings, Settings
from batch_predictions_tests.worlds.http_service import running_service
from batch_predictions_tests.worlds.paths import ROOT
from batch_predictions_tests.worlds.serving import ServingWorld, open_world

READ, WRITE = "read-0123456789abcdef0", "write-0123456789abcdef"
PAGES = ("/explorer", "/explorer/users/u1", "/explorer/items/a1", "/explorer/search?q=a1")
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key of two scopes in the environment."""
    monkeypatch.setenv("BATCH_PREDICTIONS_HTTP_READ_KEYS", READ)
    monkeypatch.setenv("BATCH_PREDICTIONS_HTTP_WRITE_KEYS", WRITE)


def basic(password: str, name: str = "anybody") -> dict[str, str]:
    credentials = base64.b64encode(f"{name}:{password}".encode()).decode()
    return {"Authorization": f"Basic {credentials}", **BROWSER}


@pytest.mark.usefixtures("keys")
def test_a_browser_is_asked_for_a_key_and_sends_it_as_a_password(
    shop: ServingWorld,
) -> None:
    with running_service(shop.settings) as client:
        for path in PAGES:
            reply = client.get(path, BROWSER)
            assert reply.status == 401, path
            assert reply.headers["www-authenticate"].startswith("Basic realm=")
            assert reply.headers["content-type"] == "text/html; charset=utf-8"
            assert b"type the key as the password" in reply.body and READ.encode() not in reply.body
            accepted = (basic(READ), basic(READ, ""), {"Authorization": f"Bearer {READ}"})
            for headers in (*accepted, {"X-API-Key": READ}):
                assert client.get(path, headers).status in (200, 303), (path, headers)
            refused = {401: [basic("nope-0123456789abcdef"), basic("")], 403: [basic(WRITE)]}
            for status, several in refused.items():
                for headers in several:
                    reply = client.get(path, headers)
                    assert reply.status == status, (path, headers)
                    assert ("www-authenticate" in reply.headers) is (status == 401)
        # Links of the pages lead to other addresses, with the same browser.
        assert client.get("/v1/orders", basic(READ)).status == 404
        assert client.get("/explorer/explorer.css").status == 200


@pytest.mark.usefixtures("keys")
def test_a_program_is_not_asked_for_a_password(shop: ServingWorld) -> None:
    with running_service(shop.settings) as client:
        reply = client.get("/v1/orders", {"Accept": "*/*"})
        assert reply.headers["www-authenticate"].startswith("Bearer")
        reply = client.send("HEAD", "/explorer", None, BROWSER)
        assert (reply.status, reply.body) == (401, b"")


@pytest.mark.parametrize("scope", ["write", "admin"])
def test_a_password_changes_nothing(scope: str) -> None:
    """A browser sends it also with requests that a page of another site makes."""
    access = AccessControl({"write": [WRITE], "admin": [WRITE]})
    headers = {b"authorization": basic(WRITE)["Authorization"].encode()}
    with pytest.raises(ProblemError, match="needs an API key"):
        access.identify(scope, headers)  # type: ignore[arg-type]


def test_a_key_in_a_header_counts_beside_the_password_of_a_proxy() -> None:
    headers = {b"authorization": basic("of-the-proxy")["Authorization"].encode()}
    access = AccessControl({"read": [READ]})
    assert access.identify("read", {**headers, b"x-api-key": READ.encode()})


@pytest.mark.parametrize("credentials", [b"", b"Basic", b"Basic ?", b"Basic bm9jb2xvbg=="])
def test_what_is_no_password_is_no_key(credentials: bytes) -> None:
    with pytest.raises(ProblemError, match="needs an API key"):
        AccessControl({"read": [READ]}).identify("read", {b"authorization": credentials})


def test_a_page_of_another_site_cannot_read_it(shop: ServingWorld) -> None:
    with running_service(shop.settings) as client:
        for path in PAGES:
            reply = client.get(path, {"Host": "evil.example"})
            assert reply.status == 421 and b"answers only as localhost" in reply.body
            assert client.get(path, {"Host": "localhost"}).status in (200, 303)


def test_it_can_be_switched_off(shop: ServingWorld) -> None:
    settings = Settings(
        home=shop.settings.home,
        serving=shop.settings.serving,
        http=HttpSettings(explorer=False),
    )
    with running_service(settings) as client:
        for path in (*PAGES, "/explorer/explorer.css"):
            reply = client.get(path, BROWSER)
            assert (reply.status, reply.json["type"]) == (404, "/problems/not-found")
        assert client.list_of("u1")["source"] == "personal"


def test_before_the_first_release_it_says_how_to_begin(tmp_path: Path) -> None:
    world = open_world(tmp_path / "home")
    with running_service(world.settings) as client:
        for path in PAGES:
            reply = client.get(path)
            assert reply.status == 503 and reply.headers["retry-after"] == "1"
            assert b"<h1>Nothing has been released yet</h1>" in reply.body
            assert b"<code>batch-predictions run</code>" in reply.body
            assert "content-security-policy" in reply.headers
        reply = client.get("/v1/recommendations/u1")
        assert reply.headers["content-type"] == "application/problem+json"
    world.store.close()


def test_templates_and_stylesheet_are_installed() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    patterns = setup["options.package_data"]["batch_predictions"].split()
    package = ROOT / "batch_predictions"
    installed = {path for pattern in patterns for path in package.glob(pattern)}
    files = {path for path in (package / "serving" / "explorer").rglob("*.*") if path.is_file()}
    missing = {path for path in files - installed if path.suffix not in (".py", ".pyc")}
    assert len(files & installed) >= 10 and not missing


def test_the_description_does_not_have_the_pages(shop: ServingWorld) -> None:
    with running_service(shop.settings) as client:
        paths = client.get("/openapi.json").json["paths"]
        assert paths and not [path for path in paths if path.startswith("/explorer")]
