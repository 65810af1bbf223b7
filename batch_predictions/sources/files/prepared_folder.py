"""Unpacks archives and rewrites texts of other encodings as UTF-8, in a copy of a folder.

Everything that reads files reads UTF-8 without archives. Of a folder that has others, there is a
copy: its other files are links, and only what is new or has changed is made again.
"""

from __future__ import annotations

import codecs
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from batch_predictions.core.durability import atomic_write
from batch_predictions.core.file_lock import file_lock
from batch_predictions.sources.base import SourceError
from batch_predictions.sources.files.listing import is_hidden, list_files
from batch_predictions.sources.files.patterns import fits, format_of

ARCHIVE = ".zip"
EVERY_FILE = "**"
_CHUNK = 1 << 20
_BOMS = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_GUESSES = ("cp1252", "latin-1")


def validate_encodings(encodings: Mapping[str, str]) -> None:
    """Checks the setting `source.encoding`.

    Raises:
        SourceError: Python does not know an encoding.
    """
    for pattern, name in encodings.items():
        try:
            codecs.lookup(name)
        except LookupError:
            raise SourceError(
                f"source.encoding {pattern!r}: there is no encoding {name!r}; write one such as "
                "cp1252, latin-1 or utf-16"
            ) from None


def prepare_folder(
    folder: Path, encodings: Mapping[str, str], target: Path, *, unpack: bool = True
) -> Path:
    """A folder without archives and with UTF-8 texts: the folder itself, or its copy.

    The files of an archive are in a folder of its name, such as `export.zip/orders.csv`.

    Args:
        folder: the source's folder.
        encodings: pattern of files to their encoding.
        target: where the copy is.
        unpack: whether archives are unpacked.

    Raises:
        SourceError: an archive is damaged, or a text is not of its encoding.
    """
    files = list_files(folder)
    if not encodings and not (unpack and any(p.suffix.lower() == ARCHIVE for p in files)):
        return folder
    target.mkdir(parents=True, exist_ok=True)
    manifest = target.with_name(f"{target.name}.json")
    with file_lock(manifest.with_suffix(".lock")):
        known: dict[str, list[object]] = {}
        if manifest.exists():
            known = json.loads(manifest.read_text(encoding="utf-8"))
        present: dict[str, list[object]] = {}
        for path in files:
            name, stat = str(path.relative_to(folder)), path.stat()
            signature = [stat.st_size, stat.st_mtime_ns, sorted(encodings.items())]
            present[name] = json.loads(json.dumps(signature))
            if known.get(name) != present[name] or not (target / name).exists():
                _copy(path, name, target / name, encodings)
        for name in known.keys() - present.keys():
            _remove(target / name)
        if known != present:
            atomic_write(manifest, json.dumps(present))
    return target


def _copy(path: Path, name: str, target: Path, encodings: Mapping[str, str]) -> None:
    """Copies a file of the source: unpacked, as UTF-8, or as a link."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.draft")
    _remove(draft)
    if path.suffix.lower() == ARCHIVE:
        _unpack(path, name, draft, encodings)
    elif encoding := encoding_of(name, encodings):
        with path.open("rb") as source, draft.open("wb") as text:
            _rewrite(source, text, name, encoding)
        shutil.copystat(path, draft)
    else:
        try:
            os.link(path, draft)
        except OSError:  # another file system
            shutil.copy2(path, draft)
    _remove(target)
    draft.replace(target)


def _unpack(path: Path, name: str, target: Path, encodings: Mapping[str, str]) -> None:
    """Unpacks the visible files of an archive into a folder."""
    target.mkdir()
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                parts = PurePosixPath(member.filename.replace("\\", "/")).parts
                if ".." in parts or parts[:1] == ("/",):
                    raise SourceError(
                        f"{name} has a file {member.filename!r}, which leads out of it: pack it "
                        "again without"
                    )
                if member.is_dir() or any(is_hidden(part) for part in parts):
                    continue
                file = target.joinpath(*parts)
                file.parent.mkdir(parents=True, exist_ok=True)
                member_name = "/".join((name, *parts))
                with archive.open(member) as source, file.open("wb") as text:
                    _rewrite(source, text, member_name, encoding_of(member_name, encodings))
                os.utime(file, ns=(path.stat().st_mtime_ns,) * 2)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, zlib.error) as error:
        raise SourceError(
            f"{name} cannot be unpacked ({error}): write the archive again"
        ) from error


def encoding_of(name: str, encodings: Mapping[str, str]) -> str | None:
    """The encoding of a file of text by the first pattern that it fits; None: UTF-8."""
    if format_of(name) not in ("csv", "json"):
        return None
    return next((e for pattern, e in encodings.items() if fits(name, pattern)), None)


def _rewrite(source: IO[bytes], target: IO[bytes], name: str, encoding: str | None) -> None:
    """Copies a file, as UTF-8 if it has another encoding."""
    if encoding is None:
        shutil.copyfileobj(source, target, _CHUNK)
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    position = 0
    while True:
        chunk = source.read(_CHUNK)
        try:
            target.write(decoder.decode(chunk, final=not chunk).encode())
        except UnicodeError as error:
            raise SourceError(
                f"{name} is not {encoding}, at byte {position:,} or after it ({error.args[-1]}): "
                "correct source.encoding"
            ) from error
        if not chunk:
            return
        position += len(chunk)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def guess_encodings(folder: Path, encodings: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Encodings of the text files of a folder that are not UTF-8, and words of theirs, by name.

    Args:
        folder: the source's folder, prepared.
        encodings: the setting `source.encoding`; its files are as they should be.
    """
    guesses: dict[str, tuple[str, str]] = {}
    for path in list_files(folder):
        name = str(path.relative_to(folder))
        is_plain = format_of(name) in ("csv", "json") and path.suffix not in (".gz", ".zst")
        if is_plain and not encoding_of(name, encodings) and (guess := _guess(path)):
            guesses[name] = guess
    return guesses


def _guess(path: Path) -> tuple[str, str] | None:
    """The encoding of a file; None if it is UTF-8, or if no encoding fits."""
    with path.open("rb") as file:
        head = file.read(4)
    encoding = next((name for bom, name in _BOMS if head.startswith(bom)), None)
    if encoding is None:
        line = next(_lines_not_utf8(path), None)
        if line is None:
            return None
        fitting = (name for name in _GUESSES if _fits_all(path, name))
        encoding = next(fitting, None)
        return (encoding, _words(line.decode(encoding))) if encoding else None
    with path.open(encoding=encoding, errors="replace") as text:
        return encoding, _words(text.readline())


def _lines_not_utf8(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            try:
                line.decode()
            except UnicodeDecodeError:
                yield line


def _fits_all(path: Path, encoding: str) -> bool:
    try:
        return all(line.decode(encoding) for line in _lines_not_utf8(path))
    except UnicodeDecodeError:
        return False


def _words(line: str) -> str:
    """Words of a line that are not ASCII, else its beginning."""
    words = [
        word for word in line.replace(",", " ").replace(";", " ").split() if not word.isascii()
    ]
    return " ".join(words[:3]) or line[:40].strip()
