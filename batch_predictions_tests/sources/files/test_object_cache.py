"""Sources at URLs: only new and changed objects are downloaded, and wholly."""

from __future__ import annotations

import datetime as dt
import http.server
import sys
import threading
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from batch_predictions.core.object_store import without_credentials
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.checking.check import check_source
from batch_predictions.sources.due_partitions import days_to_ingest
from batch_predictions.sources.files.object_cache import ObjectCache
from batch_predictions.tables import INTERACTIONS, ITEMS
from batch_predictions_tests.worlds.source_folders import (
    FIRST_DAY,
    HEADER,
    SourceFolder,
    day_keys,
    total_counts,
)

obstore = pytest.importorskip("obstore", reason="the extra objectstore is not installed")
SECRET = "secret-key-of-the-test"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of an S3 server on the loopback interface."""
    moto_server = pytest.importorskip("moto.server", reason="moto is not installed")
    thread = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    thread.start()
    host, port = thread.get_host_and_port()
    yield f"http://{host}:{port}"
    thread.stop()


class Bucket:
    """A bucket whose objects below `shop/` are a source."""

    def __init__(self, endpoint: str, name: str) -> None:
        from obstore.store import S3Store

        self.endpoint = endpoint
        self.url = f"s3://{name}/shop"
        self.store = S3Store(
            name, config={"endpoint": endpoint}, client_options={"allow_http": True}
        )

    def put(self, name: str, text: str) -> Bucket:
        obstore.put(self.store, f"shop/{name}", text.encode())
        return self

    def source(self, tmp_path: Path, **options: Any) -> SourceFolder:
        """A home whose source is the bucket."""
        return SourceFolder(tmp_path, **{"path": self.url, "endpoint": self.endpoint, **options})


@pytest.fixture
def bucket(server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    name = f"bucket-{abs(hash(request.node.name))}"
    created = urllib.request.Request(f"{server}/{name}", method="PUT")
    urllib.request.urlopen(created).close()
    return Bucket(server, name)


@pytest.fixture
def downloaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the objects that are downloaded from now on."""
    names: list[str] = []
    download = ObjectCache._download

    def record(cache: ObjectCache, store: Any, name: str) -> Any:
        names.append(name)
        return download(cache, store, name)

    monkeypatch.setattr(ObjectCache, "_download", record)
    return names


def test_objects_are_ingested_like_files(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("interactions/1.csv", HEADER + "u,i,2024-01-02,1\n,i,2024-01-02,1\n")
    bucket.put("items.jsonl", '{"item_id": "i", "price": 2}\n').put("notes/readme.txt", "x")
    shop = bucket.source(tmp_path)
    assert total_counts(shop.ingest()) == (2, 1, 1)
    assert total_counts(shop.ingest(ITEMS)) == (1, 1, 0)
    assert shop.rows("select source from raw.quarantine") == [{"source": "interactions/1.csv"}]
    assert shop.source.unread_files() == ["notes/readme.txt"]
    assert shop.source.file_names(INTERACTIONS) == ["interactions/1.csv"]


def test_only_new_and_changed_objects_are_downloaded(
    bucket: Bucket, tmp_path: Path, downloaded: list[str]
) -> None:
    shop = bucket.source(tmp_path)

    def due_days() -> list[str]:
        last = dt.date(2024, 1, 10)
        return days_to_ingest(shop.warehouse, shop.source, INTERACTIONS, FIRST_DAY, last)

    for day in day_keys(3):
        bucket.put(f"interactions/{day}.csv", HEADER + f"u,i,{day},1\n")
    bucket.put("archive/old.csv", "not downloaded")
    shop.ingest()
    assert sorted(downloaded) == [f"interactions/{day}.csv" for day in day_keys(3)]
    downloaded.clear()
    assert due_days() == []
    # Of the same size, and perhaps in the same second.
    bucket.put("interactions/2024-01-02.csv", HEADER + "v,i,2024-01-02,1\n")
    bucket.put("interactions/late.csv", HEADER + "u,j,2024-01-05,1\n")
    assert due_days() == ["2024-01-02", "2024-01-05"]
    assert sorted(downloaded) == ["interactions/2024-01-02.csv", "interactions/late.csv"]
    shop.ingest()
    obstore.delete(bucket.store, "shop/interactions/2024-01-01.csv")
    assert due_days() == ["2024-01-01"]
    names = shop.source.file_names(INTERACTIONS)
    assert names == [f"interactions/{name}.csv" for name in ("2024-01-02", "2024-01-03", "late")]


def test_patterns_and_queries_name_the_objects_to_download(
    bucket: Bucket, tmp_path: Path, downloaded: list[str]
) -> None:
    for name in ("dt=2024-01-02/a/x.csv", "dt=2024-01-02/x.csv", "y.csv", "items.csv"):
        bucket.put(name, "user_id,item_id\nu,i\n")
    bucket.put("prices.csv", "item_id,price\ni,2\n")
    shop = bucket.source(
        tmp_path,
        files={"interactions": "dt=*/**/x.csv"},
        queries={"items": "select item_id, price from 'price[s].csv'"},
        columns={"interactions": {"date": "dt"}},
    )
    assert total_counts(shop.ingest()) == (2, 2, 0)
    assert total_counts(shop.ingest(ITEMS)) == (1, 1, 0)
    assert sorted(set(downloaded)) == ["dt=2024-01-02/a/x.csv", "dt=2024-01-02/x.csv", "prices.csv"]
    assert shop.source.unread_files() == ["items.csv", "y.csv"]


def test_an_interrupted_download_is_not_read(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("interactions.csv", HEADER + "u,i,2024-01-02,1\n")
    shop = bucket.source(tmp_path)
    shop.ingest()
    bucket.put("interactions.csv", HEADER + "u,i,2024-01-02,1\n" * 2)

    class Truncated:
        def __init__(self, result: Any) -> None:
            self.meta = result.meta
            self._result = result

        def stream(self, **options: Any) -> Iterator[bytes]:
            yield bytes(self._result.bytes())[:40]

    get = obstore.get
    with monkeypatch.context() as patch:
        patch.setattr(obstore, "get", lambda *args: Truncated(get(*args)))
        with pytest.raises(SourceError, match=r"interactions\.csv has 69 bytes, but 40 were"):
            shop.ingest()
    [cached] = (shop.settings.home / "source_cache").glob("*/files/interactions.csv")
    assert cached.read_text().count("u,i") == 1
    assert not list((shop.settings.home / "source_cache").rglob(".download*"))
    assert total_counts(shop.ingest()) == (2, 2, 0)


def test_a_check_of_the_source_downloads_once_and_keeps_nothing(
    bucket: Bucket, tmp_path: Path, downloaded: list[str]
) -> None:
    bucket.put("interactions.csv", HEADER + "u,i,2024-01-02,1\n")
    shop = bucket.source(tmp_path)
    report = check_source(shop.settings)
    assert (report.ok, report.path) == (True, bucket.url)
    assert downloaded == ["interactions.csv"]
    assert not shop.settings.home.exists()


def test_the_endpoint_may_be_in_the_environment(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("interactions.csv", HEADER)
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.endpoint)

    shop = bucket.source(tmp_path, endpoint=None)
    assert total_counts(shop.ingest()) == (0, 0, 0)


def test_errors_name_the_remedy_and_no_secret(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = SourceFolder(tmp_path, path="s3://no-such-bucket/x", endpoint=bucket.endpoint)
    with pytest.raises(
        SourceError, match=r"no-such-bucket/x cannot be listed: .*AWS_ACCESS_KEY"
    ) as e:
        shop.ingest()
    assert SECRET not in str(e.value)
    with pytest.raises(SourceError, match="neither interactions nor reviews"):
        bucket.source(tmp_path).source.tables()
    shown = without_credentials(f"x {SECRET} https://a:b@host/c?sig=d e")
    assert shown == "x *** https://host/c e"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/folder", "the scheme ftp://, which cannot be read: write s3://"),
        ("https://user:hidden@host/folder", "with a user name, a password or a query"),
        ("https://host/folder?sig=hidden", "with a user name, a password or a query"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_being_shown(
    tmp_path: Path, url: str, message: str
) -> None:
    with pytest.raises(SourceError, match=message) as error:
        SourceFolder(tmp_path, path=url).ingest()
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize("name", ["../x.csv", "a/../../x.csv", "a//x.csv"])
def test_an_object_whose_name_leaves_the_folder_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = {"path": name, "size": 1, "e_tag": "x", "last_modified": dt.datetime.now(dt.UTC)}
    monkeypatch.setattr(obstore, "list", lambda store: [[meta]])
    shop = SourceFolder(tmp_path, path="s3://bucket/shop")
    with pytest.raises(SourceError, match="cannot be the name of a file"):
        shop.ingest()


@pytest.fixture
def web_folder(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the URL at which a web server on the loopback interface shows it."""
    folder = tmp_path / "web"
    folder.mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler_class: Any = handler
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler_class) as web_server:
        threading.Thread(target=web_server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{web_server.server_port}"
        web_server.shutdown()


def test_files_of_a_web_server_are_those_that_settings_name(
    tmp_path: Path, web_folder: tuple[Path, str], downloaded: list[str]
) -> None:
    folder, url = web_folder
    (folder / "a.csv").write_text(HEADER + "u,i,2024-01-02,1\n")
    (folder / "b.csv").write_text(HEADER + "v,i,2024-01-03,1\n")
    shop = SourceFolder(tmp_path, path=url, files={"interactions": ["a.csv", "b.csv"]})
    assert total_counts(shop.ingest()) == (2, 2, 0)
    assert total_counts(shop.ingest()) == (2, 2, 0)
    assert sorted(downloaded) == ["a.csv", "b.csv"]
    missing = SourceFolder(tmp_path, path=url, files={"interactions": ["missing.csv"]})
    with pytest.raises(SourceError, match=r"has no missing\.csv, or it cannot be read"):
        missing.ingest()
    for files in ({}, {"interactions": "*.csv"}):
        with pytest.raises(SourceError, match=r"cannot be listed: name each with source\.files"):
            SourceFolder(tmp_path, path=url, files=files).ingest()


def test_a_home_without_the_extra_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(SourceError, match=r"pip install 'batch-predictions\[objectstore\]'"):
        SourceFolder(tmp_path, path="s3://bucket/shop").ingest()
