"""What a file system may have after a power cut, from a record of `record_files.c`.

Of every moment of the record two states are made, from what is guaranteed only: bytes that no fsync
followed are lost in both.

- `names at once`: a new, renamed or removed name survives at once, though its bytes may not. So do
  journalling file systems without delays: names come in order, files are empty.
- `names at fsync`: a name survives when its folder was fsynced after it, as POSIX has it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MODES = ("names at once", "names at fsync")
SOURCE = Path(__file__).with_name("record_files.c")
State = dict[str, Path | None]
"""By path relative to the root, a file with the bytes that survived; None: no bytes."""


def build_recorder(folder: Path) -> Path:
    """Compiles the library that records; its path."""
    library = folder / "record_files.so"
    command = ["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return library


def recorder_variables(library: Path, root: Path, record: Path) -> dict[str, str]:
    """Variables of a process whose operations below a folder are recorded."""
    record.mkdir(parents=True, exist_ok=True)
    return {
        "LD_PRELOAD": str(library),
        "RECORD_ROOT": str(root.resolve()),
        "RECORD_LOG": str(record),
    }


@dataclass(eq=False)
class Node:
    """A file or a folder.

    Attributes:
        content: a file with the bytes that survive; None: none.
        names: of a folder, its entries; None: it is a file.
        durable: of a folder, its entries at its last fsync.
    """

    content: Path | None = None
    names: dict[str, Node] | None = None
    durable: dict[str, Node] = field(default_factory=dict)

    def files(self, mode: str, prefix: str = "") -> Iterator[tuple[str, Path | None]]:
        """The files below a folder that survive, and their bytes."""
        names = self.names if mode == MODES[0] else self.durable
        assert names is not None
        for name, node in names.items():
            if node.names is None:
                yield prefix + name, node.content
            else:
                yield from node.files(mode, f"{prefix}{name}/")


class Disk:
    """A file system to which operations are applied.

    Args:
        root: the folder that was recorded.
        before: a copy of it from before the record, which is durable.
    """

    def __init__(self, root: Path, before: Path) -> None:
        self.root = root.resolve()
        self.top = _read_folder(before)

    def apply(self, operation: str, first: str, second: str, record: Path) -> None:
        """Applies an operation of a record."""
        if operation in ("create", "mkdir"):
            folder, name = self._parent(first)
            folder[name] = Node(names={} if operation == "mkdir" else None)
        elif operation == "truncate":
            self._node(first).content = None
        elif operation == "sync":
            # A file without a name was created by a call that is not recorded, or was removed.
            if (node := self._find(first)) is not None:
                node.content = record / second
        elif operation == "syncdir":
            node = self._node(first)
            node.durable = dict(node.names or {})
        elif operation == "unlink":
            folder, name = self._parent(first)
            folder.pop(name, None)
        else:
            self._move(operation, first, second)

    def _move(self, operation: str, first: str, second: str) -> None:
        node = self._find(first) or Node()
        target, name = self._parent(second)
        target[name] = node
        if operation == "rename" and os.path.normpath(first) != os.path.normpath(second):
            source, old = self._parent(first)
            source.pop(old, None)

    def state(self, mode: str) -> State:
        """The files that survive a power cut now."""
        return dict(self.top.files(mode))

    def _parts(self, path: str) -> list[str]:
        relative = os.path.relpath(os.path.normpath(path), self.root)
        return [] if relative == "." else relative.split("/")

    def _find(self, path: str) -> Node | None:
        node: Node | None = self.top
        for part in self._parts(path):
            node = None if node is None or node.names is None else node.names.get(part)
        return node

    def _node(self, path: str) -> Node:
        folder, name = self._parent(path) if self._parts(path) else ({"": self.top}, "")
        return folder.setdefault(name, Node())

    def _parent(self, path: str) -> tuple[dict[str, Node], str]:
        *folders, name = self._parts(path)
        names = self.top.names
        assert names is not None
        for folder in folders:
            node = names.setdefault(folder, Node(names={}))
            assert node.names is not None, f"{path}: {folder} is a file"
            names = node.names
        return names, name


def _read_folder(folder: Path) -> Node:
    """A folder, all of which is durable."""
    names: dict[str, Node] = {}
    for path in sorted(folder.iterdir()):
        names[path.name] = _read_folder(path) if path.is_dir() else Node(content=path)
    return Node(names=names, durable=dict(names))


def read_record(record: Path) -> list[tuple[str, str, str]]:
    """The operations of a record, in their order."""
    text = (record / "log").read_text(encoding="utf-8")
    operations = []
    for line in text.splitlines():
        operation, first, second = line.split("\t")
        operations.append((operation, first, second))
    return operations


def write_state(state: State, folder: Path) -> None:
    """Makes a folder with the files of a state."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in state.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch() if content is None else shutil.copyfile(content, path)
