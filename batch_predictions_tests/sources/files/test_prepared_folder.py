"""Archives and texts of other encodings are read as UTF-8 files of a folder."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest

from batch_predictions.sources.base import SourceError
from batch_predictions.sources.files.prepared_folder import guess_encodings, prepare_folder
from batch_predictions.tables import USERS
from batch_predictions_tests.worlds.source_folders import HEADER, SourceFolder

LAST = "2024-01-07"
CITIES = "user_id,city\nu1,Köln\nu2,Zürich – Höngg\n"


def cities(shop: SourceFolder) -> list[str]:
    """The locations of users, ingested as of the last day."""
    shop.ingest(USERS, [LAST])
    return [row["location"] for row in shop.rows("from raw.users order by user_id")]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "utf-8-sig", "mac-roman"])
@pytest.mark.parametrize("pattern", ["users.csv", "**", None])
def test_a_text_is_read_by_its_encoding(tmp_path: Path, encoding: str, pattern: str | None) -> None:
    # As the settings file has it: one for all, or one for a pattern.
    setting = {pattern: encoding} if pattern else encoding
    shop = SourceFolder(tmp_path, encoding=setting, columns={"users": {"location": "city"}})
    shop.write("interactions.csv", (HEADER + "u1,i,2024-01-02,1\n").encode(encoding))
    if pattern == "users.csv":
        shop.write("interactions.csv", HEADER + "u1,i,2024-01-02,1\n")
    shop.write("users.csv", CITIES.encode(encoding))
    assert cities(shop) == ["Köln", "Zürich – Höngg"]
    assert guess_encodings(shop.source.folder, {}) == {}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("content", "guess"),
    [
        (CITIES.encode("cp1252"), ("cp1252", "Köln")),
        (CITIES.encode("utf-16"), ("utf-16", "user_id,city")),
        (b"user_id,city\nu,K\x81ln\n", ("latin-1", "K\x81ln")),
        (CITIES.encode(), None),
        (b"user_id,city\n", None),
        (b"", None),
    ],
)
def test_encodings_are_guessed(
    tmp_path: Path, content: bytes, guess: tuple[str, str] | None
) -> None:
    (tmp_path / "users.csv").write_bytes(content)
    (tmp_path / "notes.md").write_bytes(b"\xff")
    assert guess_encodings(tmp_path, {}) == ({"users.csv": guess} if guess else {})
    assert guess_encodings(tmp_path, {"*.csv": "cp1252"}) == {}


def archive(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in files.items():
            target.writestr(name, content)


def test_files_of_an_archive_are_those_of_a_folder(tmp_path: Path) -> None:
    files = {"interactions": "march.zip/sub/orders*.csv"}
    shop = SourceFolder(tmp_path, files=files, encoding={"march.zip/users.csv": "cp1252"})
    rows = HEADER + "u1,i,2024-01-02,1\n"
    content = {
        "sub/orders_1.csv": rows.encode(),
        "sub/orders_2.csv": (HEADER + "u2,i,2024-01-03,2\n").encode(),
        "__MACOSX/sub/._orders_1.csv": b"\0",
    }
    archive(shop.folder / "march.zip", content)
    shop.write("users.csv", CITIES)
    shop.ingest()
    assert [row["user_id"] for row in shop.rows("from raw.interactions order by date")] == [
        "u1",
        "u2",
    ]
    first = shop.source.fingerprint(shop.source.tables()[0])
    assert first == shop.source.fingerprint(shop.source.tables()[0])
    archive(
        shop.folder / "march.zip",
        {**content, "sub/orders_1.csv": (rows + rows[len(HEADER) :]).encode()},
    )
    assert first != shop.source.fingerprint(shop.source.tables()[0])
    shop.ingest()
    assert len(shop.rows("from raw.interactions")) == 3


def test_only_what_has_changed_is_made_again(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "home" / "copy"
    source.mkdir()
    for name in ("a.csv", "b.csv", "c.parquet"):
        (source / name).write_bytes("Köln\n".encode("cp1252"))
        os.utime(source / name, (1, 1))
    setting = {"*.csv": "cp1252"}
    assert prepare_folder(source, {}, target) == source
    assert prepare_folder(source, setting, target) == target
    inodes = {path.name: path.stat().st_ino for path in target.iterdir()}
    assert (target / "a.csv").read_text() == "Köln\n"
    assert inodes["c.parquet"] == (source / "c.parquet").stat().st_ino
    (source / "a.csv").write_bytes("Bäm\n".encode("cp1252"))
    (source / "b.csv").unlink()
    prepare_folder(source, setting, target)
    assert sorted(path.name for path in target.iterdir()) == ["a.csv", "c.parquet"]
    assert (target / "a.csv").read_text() == "Bäm\n"
    assert (target / "c.parquet").stat().st_ino == inodes["c.parquet"]
    assert set(json.loads((tmp_path / "home" / "copy.json").read_text())) == {"a.csv", "c.parquet"}


def test_what_cannot_be_unpacked_or_decoded_stops(tmp_path: Path) -> None:
    target = tmp_path / "copy"
    for number, (name, content, encoding, message) in enumerate(
        [
            ("x.zip", b"PK no archive", {}, "x.zip cannot be unpacked"),
            ("x.csv", b"a,\xff\n", {"**": "ascii"}, "x.csv is not ascii, at byte 0 or after it"),
        ]
    ):
        source = tmp_path / str(number)
        source.mkdir()
        (source / name).write_bytes(content)
        with pytest.raises(SourceError, match=message):
            prepare_folder(source, encoding, target)
    source = tmp_path / "outside"
    source.mkdir()
    archive(source / "x.zip", {"../y.csv": b"a"})
    with pytest.raises(SourceError, match=r"x.zip has a file '../y.csv'"):
        prepare_folder(source, {}, target)
    assert not (tmp_path / "y.csv").exists()
    with pytest.raises(SourceError, match="there is no encoding 'klingon'"):
        SourceFolder(tmp_path, encoding="klingon").source.tables()
