"""Types of names in manifests, which may not lead out of the folder that they are relative to."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator

MAX_NAME_BYTES = 255
"""What file systems take."""


def validate_relative_path(path: str) -> str:
    """Checks the path of a file below a folder; returns it.

    Raises:
        ValueError: it is absolute, empty, has `.` or `..`, a zero byte or a name that is too long,
            or is not in the form that `PurePosixPath` writes.
    """
    parts = PurePosixPath(path).parts
    if (
        not parts
        or path.startswith("/")
        or ".." in parts
        or "\0" in path
        or any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in parts)
        or str(PurePosixPath(path)) != path
    ):
        raise ValueError(f"{path!r} is not the path of a file below the folder")
    return path


def validate_file_name(name: str) -> str:
    """Checks the name of a file or folder in a folder; returns it.

    Raises:
        ValueError: it has a slash, or is no relative path.
    """
    if "/" in name:
        raise ValueError(f"{name!r} is not the name of a file")
    return validate_relative_path(name)


RelativePath = Annotated[str, AfterValidator(validate_relative_path)]
"""The path of a file below a folder."""
FileName = Annotated[str, AfterValidator(validate_file_name)]
"""The name of a file or folder in a folder."""
