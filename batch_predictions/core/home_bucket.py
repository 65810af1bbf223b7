"""Where a home is: in a folder, or in a bucket of which a folder of this machine has copies."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import uuid
from pathlib import Path

from batch_predictions.core import durability
from batch_predictions.core.bucket_files import HomeBucket
from batch_predictions.core.home import HomeError
from batch_predictions.core.object_store import local_folder

MARKER = ".bucket"
"""The file of a folder of copies that has the bucket's URL."""
CACHE_VARIABLE = "BATCH_PREDICTIONS_HOME_CACHE"


def working_folder(location: str) -> Path:
    """The folder of a home: the one that a path names, or the one with this machine's copies.

    The folder of a URL is `$BATCH_PREDICTIONS_HOME_CACHE/<name>`, by default in
    `~/.cache/batch_predictions`; it is made, and may be removed when no process uses it.

    Raises:
        HomeError: the URL is of no object store, or has a user name, a password or a query.
    """
    local = local_folder(location, "a home", HomeError)
    if local is not None:
        return local.absolute()
    url = location.rstrip("/")
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    name = re.sub(r"[^\w.-]+", "-", url)
    folder = _cache_folder() / f"{name}-{digest}"
    marker = folder / MARKER
    if not marker.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        durability.write_and_fsync(draft := folder / f"{MARKER}-{uuid.uuid4().hex}", url)
        draft.replace(marker)
    return folder


def location_of(home: Path) -> str:
    """The URL of a home in a bucket, or the path of a home in a folder, for other machines."""
    bucket = bucket_of(home)
    return bucket.url if bucket else str(home.absolute())


def bucket_of(home: Path) -> HomeBucket | None:
    """The bucket of which a home folder has copies; None: the folder is the home.

    Raises:
        HomeError: the bucket cannot be opened.
    """
    return _open(home.absolute()) if (home / MARKER).exists() else None


@functools.cache
def _open(home: Path) -> HomeBucket:
    bucket = HomeBucket(home, (home / MARKER).read_text(encoding="utf-8").strip())
    durability.on_durable(bucket.push)
    return bucket


def fetch(folder: Path) -> list[Path]:
    """Downloads the files of a folder of a home that are downloaded only when they are needed.

    These are files of models, and those of the engine that another machine has shared.

    Returns:
        The files that were downloaded.

    Raises:
        HomeError: the bucket cannot be read.
    """
    place = place_of(folder)
    return place[0].fetch(folder) if place is not None else []


def refresh(path: Path) -> None:
    """Brings a file of a home in a bucket to what the bucket has, before it is changed.

    Raises:
        HomeError: the bucket cannot be read.
    """
    place = place_of(path)
    if place is not None:
        place[0].refresh(place[1])


def share(path: Path) -> None:
    """Uploads a file of the engine, or those of a folder, to a home's bucket, for other machines.

    An object that is there stays: of two results of one shard, the first counts. For a path in no
    bucket's home, all machines have it already.

    Raises:
        HomeError: the bucket cannot be written.
    """
    place = place_of(path)
    if place is not None:
        place[0].share(path)


def place_of(path: Path) -> tuple[HomeBucket, str] | None:
    """The bucket of the home that a path is in, and its name there; None: it is in none."""
    for parent in path.absolute().parents:
        if (parent / MARKER).exists():
            bucket = bucket_of(parent)
            assert bucket is not None
            return bucket, path.absolute().relative_to(parent).as_posix()
    return None


def location_of_file(path: Path) -> str:
    """The URL of a file's folder in a bucket, or the path of a file of a local home, for people."""
    place = place_of(path)
    return f"{place[0].url}/{place[1].rpartition('/')[0]}" if place else str(path)


def _cache_folder() -> Path:
    """The folder of this machine's copies of all homes in buckets."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).absolute() if chosen else default / "batch_predictions"
