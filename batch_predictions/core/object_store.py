"""Object stores by URL: S3, Google Cloud Storage, Azure, and web servers to read from.

Credentials are those of the environment; no message shows them.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from batch_predictions.core.redaction import environment_secrets, redact
from batch_predictions.core.traffic import TrafficCounter

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az")
"""Of stores that can be written."""
_CHUNK_BYTES = 8 << 20
_THREADS = 16
ATTEMPTS = 3
"""Times that a request is made whose answer breaks off: the libraries make it once."""
Item = TypeVar("Item")
Result = TypeVar("Result")
_ENDPOINT_NAMES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def open_object_store(url: str, endpoint: str | None = None) -> ObjectStore:
    """The objects below a URL.

    Args:
        url: such as s3://bucket/prefix.
        endpoint: URL of an S3-compatible server; None: that of the environment, or the provider's.

    Raises:
        ImportError: the extra objectstore is not installed.
        obstore.exceptions.BaseError, ValueError: the URL or the environment cannot be used.
    """
    from obstore.store import from_url

    options: dict[str, Any] = {
        "retry_config": {"max_retries": 5, "retry_timeout": dt.timedelta(seconds=60)},
        "client_options": {"connect_timeout": "10s", "timeout": "300s"},
    }
    endpoint = endpoint or endpoint_of(url)
    if url.startswith("http://") or (endpoint or "").startswith("http://"):
        options["client_options"]["allow_http"] = True
    if endpoint and urlsplit(url).scheme == "s3":
        options["config"] = {"endpoint": endpoint}
    store: ObjectStore = from_url(url, **options)
    return store


def endpoint_of(url: str) -> str | None:
    """The S3-compatible server of the environment; None for other URLs, or where it names none."""
    if urlsplit(url).scheme != "s3":
        return None
    return next(filter(None, map(os.environ.get, _ENDPOINT_NAMES)), None)


def delta_options(url: str) -> dict[str, str] | None:
    """Options of deltalake for the S3-compatible server of the environment; None: there is none."""
    endpoint = endpoint_of(url)
    if endpoint is None:
        return None
    is_plain = urlsplit(endpoint).scheme == "http"
    return {"AWS_ENDPOINT_URL": endpoint} | ({"AWS_ALLOW_HTTP": "true"} if is_plain else {})


@contextmanager
def delta_errors_as(
    error: type[Exception], place: str, *, passed: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Raises errors of deltalake in the block as another, without credentials.

    Args:
        error: what is raised.
        place: the sink or the home, for the message.
        passed: errors that the block's caller wants as they are.

    Raises:
        Exception: of the type `error`: also where deltalake is not installed.
    """
    try:
        from deltalake.exceptions import DeltaError
    except ImportError as missing:
        raise error(
            f"{place} needs Delta Lake: install batch_predictions with the extra lakehouse"
        ) from missing
    try:
        yield
        return
    except passed:
        raise
    except (DeltaError, OSError) as caught:
        problem = without_credentials(str(caught).splitlines()[0])
    # Outside of the block, so that no traceback has the library's error.
    raise error(f"{place} cannot be read or written: {problem}")


def without_credentials(text: str) -> str:
    """A text of a store without users and queries of URLs, and without secrets of variables."""
    text = re.sub(r"(://)[^/@\s]*@", r"\1", text)
    text = re.sub(r"\?[^\s\"')]*", "", text) if "://" in text else text
    return redact(text, environment_secrets())


def local_folder(location: str, what: str, error: type[Exception]) -> Path | None:
    """The folder that a location names, as a path or a URL file://; None: an object store.

    Args:
        location: a path or a URL.
        what: is kept there, for messages.
        error: that is raised.

    Raises:
        Exception: of the type `error`: the URL has an unknown scheme, or a user, a password or a
            query.
    """
    if "://" not in location:
        return Path(location)
    parts = urlsplit(location)
    if parts.scheme == "file" and parts.path and not parts.netloc:
        return Path(parts.path)
    if parts.scheme not in SCHEMES or not parts.netloc:
        raise error(
            f"{what} cannot be at a URL {parts.scheme}://…: write a folder, file:///FOLDER, "
            f"or {', '.join(f'{scheme}://BUCKET/PREFIX' for scheme in SCHEMES)}"
        )
    if "@" in parts.netloc or parts.query:
        raise error(
            f"the URL of {what} has a user name, a password or a query: remove it, and set "
            "credentials in the environment, such as AWS_ACCESS_KEY_ID"
        )
    return None


class ObjectConflictError(RuntimeError):
    """A write whose condition is false: another process has written the object."""


class ObjectInfo(NamedTuple):
    """The description of an object in a list.

    Attributes:
        size: in bytes.
        modified: when it was last changed, UTC.
        e_tag: changes with its content; None: the store gives none.
    """

    size: int
    modified: dt.datetime
    e_tag: str | None


class ObjectFolder:
    """The objects below a URL. An object is whole or not there.

    Args:
        url: such as s3://bucket/prefix.
        what: is kept there, for messages.
        error: that is raised where the store cannot be reached, or refuses.
        extra: of this package, with which obstore is installed.

    Attributes:
        traffic: counts what this process asks the store for.
    """

    def __init__(
        self, url: str, what: str, error: type[Exception], extra: str = "objectstore"
    ) -> None:
        self.url, self.error = url, error
        self.traffic = TrafficCounter()
        require_obstore(f"{what} at {url}", error, extra)
        with self._explained("cannot be opened"):
            self._store: ObjectStore = open_object_store(url)

    def list(self, prefix: str | None = None) -> dict[str, ObjectInfo]:
        """All objects, or those below a prefix, by name."""
        import obstore

        def ask() -> dict[str, ObjectInfo]:
            listed = [meta for chunk in obstore.list(self._store, prefix) for meta in chunk]
            self.traffic.add_list(len(listed))
            return dict(map(_named_info, listed))

        return self._ask("cannot be listed", ask)

    def list_level(self) -> tuple[Sequence[str], dict[str, ObjectInfo]]:
        """Names of folders, and the objects that are in none."""
        import obstore

        level = self._ask("cannot be listed", lambda: obstore.list_with_delimiter(self._store))
        folders, objects = level["common_prefixes"], level["objects"]
        self.traffic.add_list(len(folders) + len(objects))
        return [*folders], dict(map(_named_info, objects))

    def list_after(self, prefix: str, name: str) -> Sequence[str]:
        """Names below a prefix that come after another, in order."""
        import obstore

        def ask() -> Sequence[str]:
            chunks = obstore.list(self._store, prefix, offset=name)
            names = sorted(meta["path"] for chunk in chunks for meta in chunk)
            self.traffic.add_list(len(names))
            return names

        return self._ask("cannot be listed", ask)

    def e_tag(self, name: str) -> str | None:
        """The ETag of an object, which changes with its content; None: there is no object."""
        import obstore

        def ask() -> str | None:
            self.traffic.add("head")
            try:
                return _quoted(obstore.head(self._store, name)["e_tag"])
            except (obstore.exceptions.NotFoundError, FileNotFoundError):
                return None

        return self._ask(f"{name} cannot be read", ask)

    def get(self, name: str) -> tuple[bytes, str | None] | None:
        """An object's bytes and ETag; None: there is no object."""
        import obstore

        def ask() -> tuple[bytes, str | None] | None:
            self.traffic.add("get")
            try:
                result = obstore.get(self._store, name)
                content = bytes(result.bytes())
            except (obstore.exceptions.NotFoundError, FileNotFoundError):
                return None
            self.traffic.add("get", 0, received=len(content))
            return content, _quoted(result.meta["e_tag"])

        return self._ask(f"{name} cannot be read", ask)

    def put(
        self, name: str, content: bytes, *, if_absent: bool = False, if_e_tag: str | None = None
    ) -> str | None:
        """Writes an object, whole or not at all; one with the same bytes may be there already.

        It may be of this write, whose answer was lost, or of a process that was killed after it.

        Args:
            name: of the object.
            content: its bytes.
            if_absent: whether there may be none yet.
            if_e_tag: the ETag that the existing one must have; None: any.

        Returns:
            The object's ETag.

        Raises:
            ObjectConflictError: the condition is false, and the object has other bytes.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, NotFoundError, PreconditionError

        mode: Any = {"e_tag": if_e_tag} if if_e_tag else "create" if if_absent else "overwrite"
        conflicts = (AlreadyExistsError, PreconditionError, NotFoundError, FileExistsError)

        def ask() -> str | None:
            self.traffic.add_put(len(content), _CHUNK_BYTES if mode == "overwrite" else None)
            result = obstore.put(self._store, name, content, mode=mode, chunk_size=_CHUNK_BYTES)
            return _quoted(result["e_tag"])

        with self._explained(f"{name} cannot be written"), contextlib.suppress(*conflicts):
            return _again(ask)
        found = self.get(name)
        if found is None or found[0] != content:
            raise ObjectConflictError(f"{self.url}: another process has written {name}")
        return found[1]

    def upload(self, path: Path, name: str) -> None:
        """Uploads a file, whole or not at all."""
        import obstore

        def ask() -> None:
            self.traffic.add_put(path.stat().st_size, _CHUNK_BYTES)
            obstore.put(self._store, name, path, chunk_size=_CHUNK_BYTES)

        self._ask(f"{name} cannot be uploaded", ask)

    def download(self, name: str, path: Path) -> bool:
        """Downloads an object to a new file, and fsyncs it. Returns whether there is one."""
        import obstore

        def ask() -> bool:
            self.traffic.add("get")
            try:
                size = download_object(self._store, name, path)["size"]
            except (obstore.exceptions.NotFoundError, FileNotFoundError):
                return False
            self.traffic.add("get", 0, received=size)
            return True

        return self._ask(f"{name} cannot be downloaded", ask)

    def delete(self, name: str) -> None:
        """Removes an object, if it is there."""
        import obstore

        def ask() -> None:
            self.traffic.add("delete")
            with contextlib.suppress(obstore.exceptions.NotFoundError, FileNotFoundError):
                obstore.delete(self._store, name)

        self._ask(f"{name} cannot be removed", ask)

    def _ask(self, problem: str, ask: Callable[[], Result]) -> Result:
        with self._explained(problem):
            return _again(ask)

    def _explained(self, problem: str) -> AbstractContextManager[None]:
        kinds = (FileNotFoundError, PermissionError)
        return explained(f"{self.url} {problem}", self.error, kinds, "AWS_ENDPOINT_URL")


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Sequence[Result]:
    """Calls a function that waits for a store with each item, many at a time.

    Returns:
        The results, in the order of the items.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        return [*pool.map(function, items)]


def _again(ask: Callable[[], Result]) -> Result:
    """Asks a store again where its answer broke off; asked twice, it does the same."""
    from obstore.exceptions import GenericError, NotFoundError

    for _ in range(ATTEMPTS - 1):
        # Not found: the parts of an upload that was complete.
        with contextlib.suppress(GenericError, NotFoundError, FileNotFoundError):
            return ask()
    return ask()


def _named_info(meta: ObjectMeta) -> tuple[str, ObjectInfo]:
    info = ObjectInfo(meta["size"], meta["last_modified"], _quoted(meta["e_tag"]))
    return meta["path"], info


def _quoted(e_tag: str | None) -> str | None:
    """An ETag as headers have it: lists of Azure leave out its quotes."""
    return f'"{e_tag}"' if e_tag and not e_tag.endswith('"') else e_tag


@contextmanager
def explained(
    problem: str, error: type[Exception], kinds: tuple[type[Exception], ...], endpoint: str
) -> Iterator[None]:
    """Raises a store's errors as another, without credentials.

    Args:
        problem: the beginning of the message.
        error: what is raised.
        kinds: further errors that are the store's, besides obstore's own.
        endpoint: name of the variable or setting for the URL of an S3-compatible server.
    """
    from obstore.exceptions import BaseError

    of_store: tuple[type[Exception], ...] = (BaseError, ValueError, *kinds)
    try:
        yield
    except of_store as caught:
        reason = without_credentials(str(caught).strip().split("\n")[0])[:500]
        raise error(
            f"{problem}: {reason}. Credentials are those of the environment (AWS_ACCESS_KEY_ID, "
            "GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME, …); "
            f"{endpoint} is the URL of an S3-compatible server"
        ) from None


def require_obstore(what: str, error: type[Exception], extra: str = "objectstore") -> None:
    """Raises an error where obstore is not installed.

    Args:
        what: needs it.
        error: what is raised.
        extra: of this package, with which it is installed.
    """
    try:
        import obstore.store  # noqa: F401
    except ImportError:
        raise error(
            f"{what}: the extra {extra} is needed, pip install 'batch-predictions[{extra}]'"
        ) from None


def download_object(store: ObjectStore, name: str, path: Path) -> ObjectMeta:
    """Downloads an object to a new file, and fsyncs it. Returns what the store says of it.

    Args:
        store: the object store.
        name: of the object, relative to the store.
        path: the file to write; an existing one is replaced.

    Raises:
        obstore.exceptions.BaseError, OSError: it cannot be read, or not written.
    """
    import obstore

    result = obstore.get(store, name)
    with path.open("wb") as file:
        for chunk in result.stream(min_chunk_size=_CHUNK_BYTES):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return result.meta
