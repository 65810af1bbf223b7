"""The folder of release files: names, manifests, order.

A release is `<number>-<release id>.sqlite` and a manifest of the same name with `.json`. The file
gets its name when it is complete and on the disk, the manifest after it: a file without a manifest
does not count. Both never change. The highest number is the newest export. A new export leaves
numbers free below the next one, so that a file can be replaced without changing the order.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from batch_predictions.core.durability import fsync_folder
from batch_predictions.core.file_lock import file_lock
from batch_predictions.serving.store.pointer import ReleaseError
from batch_predictions.settings import IdRule

FORMAT_VERSION = 1
APPLICATION_ID = 0x42505246
"""`BPRF`, which the program `file` and SQLite's header show."""
NUMBER_STEP = 1_000
MANIFEST_SUFFIX, FILE_SUFFIX = ".json", ".sqlite"
DRAFT_PREFIX = ".draft-"
LOCK_NAME = ".export.lock"
_NAME = re.compile(r"(?P<number>\d{12})-(?P<release_id>\d{4}-\d\d-\d\d-[0-9a-f]+)")


class ReleaseFileError(ReleaseError):
    """A release file cannot be written or used; the message says what to do."""


class ExportedTable(BaseModel):
    """A table of a release file: its day or week, rows, versions of models."""

    model_config = ConfigDict(frozen=True)

    as_of: dt.date
    rows: int
    model_versions: tuple[str, ...] = ()


class ReleaseFileManifest(BaseModel):
    """The manifest of a release file: its release, its tables, and the file's hash.

    Attributes:
        format_version: of the file; a service refuses newer ones than it knows.
        number: its place among the files; the highest is served.
        release_id: the release.
        as_of: its day.
        file: name of the SQLite file in the same folder.
        bytes: its size.
        sha256: of its bytes.
        timezone: of the source: a day ends at its midnight.
        ids: how the source writes ids, by column; lookups write them alike.
        tables: by name.
        users: users with attributes.
        items: items with titles.
    """

    model_config = ConfigDict(frozen=True)

    format_version: int
    number: int
    release_id: str
    as_of: dt.date
    file: str
    bytes: int
    sha256: str
    timezone: str
    ids: dict[str, IdRule]
    tables: dict[str, ExportedTable]
    users: int
    items: int

    @property
    def name(self) -> str:
        """The name of the manifest's own file."""
        return manifest_name(self.number, self.release_id)


def new_draft(folder: Path) -> Path:
    """The path of a file that is being written, and that no process writes yet."""
    return folder / f"{DRAFT_PREFIX}{uuid.uuid4().hex}{FILE_SUFFIX}"


def manifest_name(number: int, release_id: str) -> str:
    """The name of the manifest of an export."""
    return f"{number:012d}-{release_id}{MANIFEST_SUFFIX}"


def file_name(number: int, release_id: str) -> str:
    """The name of the SQLite file of an export."""
    return f"{number:012d}-{release_id}{FILE_SUFFIX}"


def number_of(name: str) -> int | None:
    """The number in the name of a file or manifest; None for names of other files."""
    match = _NAME.fullmatch(name.removesuffix(MANIFEST_SUFFIX).removesuffix(FILE_SUFFIX))
    return int(match["number"]) if match else None


def list_manifests(folder: Path) -> list[Path]:
    """The manifests of a folder, the newest export first; none where there is no folder.

    Raises:
        OSError: the folder cannot be listed.
    """
    try:
        paths = [path for path in folder.iterdir() if path.suffix == MANIFEST_SUFFIX]
    except FileNotFoundError:
        return []
    return sorted((path for path in paths if number_of(path.name) is not None), reverse=True)


def read_manifest(path: Path) -> ReleaseFileManifest:
    """Reads the manifest of a release file, and checks its format and its name.

    Raises:
        ReleaseFileError: it cannot be read, is of a newer format, or has another name than its
            content says.
        FileNotFoundError: it is gone.
    """
    try:
        manifest = ReleaseFileManifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise
    except (OSError, ValidationError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ReleaseFileError(f"{path.name} cannot be read ({reason}): export again") from None
    if manifest.format_version > FORMAT_VERSION:
        raise ReleaseFileError(
            f"{path.name} has the format {manifest.format_version}, this program reads "
            f"{FORMAT_VERSION}: install the version of the platform that exported it"
        )
    if manifest.name != path.name or manifest.file != file_name(
        manifest.number, manifest.release_id
    ):
        raise ReleaseFileError(f"{path.name} is the manifest of another file: export again")
    return manifest


def verify_bytes(path: Path, manifest: ReleaseFileManifest) -> None:
    """Compares a file with its manifest.

    Raises:
        ReleaseFileError: its size or hash is another.
        FileNotFoundError: it is gone.
    """
    with path.open("rb") as stream:
        size = path.stat().st_size
        if size != manifest.bytes:
            problem = f"has {size:,} bytes, its manifest says {manifest.bytes:,}"
        elif hashlib.file_digest(stream, "sha256").hexdigest() != manifest.sha256:
            problem = "has another SHA-256 than its manifest says"
        else:
            return
    raise ReleaseFileError(f"{manifest.file} {problem}: it is damaged or half copied; export again")


@contextmanager
def exclusive_folder(folder: Path) -> Iterator[None]:
    """Holds the lock of exports into a folder; what killed exports have left is removed.

    Raises:
        ReleaseFileError: another process exports into the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(file_lock(folder / LOCK_NAME, wait=False))
        except BlockingIOError:
            raise ReleaseFileError(
                f"another process exports to {folder}: wait until it ends, then export again"
            ) from None
        _remove_incomplete(folder)
        yield


def remove_export(manifest_path: Path) -> None:
    """Removes an export: its manifest first, so that no manifest names a file that is gone."""
    manifest_path.unlink(missing_ok=True)
    fsync_folder(manifest_path.parent)
    manifest_path.with_suffix(FILE_SUFFIX).unlink(missing_ok=True)


def _remove_incomplete(folder: Path) -> None:
    """Removes drafts, and files without a manifest: whoever wrote them is dead, by the lock."""
    for path in folder.iterdir():
        is_orphan = (
            path.suffix == FILE_SUFFIX
            and number_of(path.name) is not None
            and not path.with_suffix(MANIFEST_SUFFIX).exists()
        )
        if path.name.startswith(DRAFT_PREFIX) and path.is_dir():
            shutil.rmtree(path)
        elif path.name.startswith(DRAFT_PREFIX) or is_orphan:
            path.unlink(missing_ok=True)


def state_of(manifest_path: Path) -> tuple[object, ...]:
    """The inodes, sizes and times of an export's files, which change when it is written again."""
    state: list[object] = []
    for path in (manifest_path, manifest_path.with_suffix(FILE_SUFFIX)):
        with suppress(OSError):
            stat = path.stat()
            state += [path.suffix, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    return tuple(state)


def describe_refusal(manifest_path: Path, error: Exception) -> str:
    """Says why a release file is refused, without the folder's path."""
    if isinstance(error, FileNotFoundError):
        name = manifest_path.with_suffix(FILE_SUFFIX).name
        return f"{name} is missing beside its manifest: export again"
    if isinstance(error, OSError):
        return f"{manifest_path.name} cannot be read: {error.strerror}"
    return str(error).splitlines()[0]
