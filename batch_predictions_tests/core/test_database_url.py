"""URLs of databases that the platform writes: without its driver, one says what to install."""

from __future__ import annotations

import pytest

from batch_predictions.core.database import open_engine
from batch_predictions.core.database_url import (
    DatabaseUrlError,
    parse_database_url,
    parse_written_database_url,
)
from batch_predictions.core.read_only import StoreError
from batch_predictions.sources.posted_rows.reader import PostedRows

URL = "postgres://user:s3cret@host/shop"


@pytest.fixture
def no_psycopg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def test_files_and_servers_with_their_driver_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert parse_written_database_url(URL, "x").get_driver_name() == "psycopg"
    assert parse_written_database_url("sqlite:////a/b", "x").database == "/a/b"


def test_a_server_without_its_driver_says_what_to_install(no_psycopg: None) -> None:
    message = "needs psycopg: install batch_predictions with the extra postgres"
    with pytest.raises(DatabaseUrlError, match=rf"^serving.posted_url {message}$"):
        PostedRows(URL)
    with pytest.raises(StoreError, match=rf"^serving.url {message}$"):
        open_engine(URL, writing=False)
    assert parse_written_database_url("sqlite:////a/b", "x").database == "/a/b"
    assert parse_database_url(URL, "source.url").host == "host", "a source may be read by ADBC"
