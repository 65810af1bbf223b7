"""Names in manifests do not lead out of the folder that they are relative to."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from batch_predictions.core.relative_paths import validate_relative_path
from batch_predictions.inference.results import Shard
from batch_predictions.models.model_store import Decision

OUTSIDE = ["../a", "a/../../b", "/tmp/a", "", ".", "..", "a/..", "./a", "a//b", "a\0b", "b" * 256]
"""Paths that no manifest may have."""


@settings(max_examples=300, deadline=None)
@given(
    path=st.one_of(
        st.text(max_size=12),
        st.lists(st.sampled_from(["..", ".", "", "a", "/", "b", "\0"]), max_size=6).map("/".join),
    )
)
def test_any_path_is_refused_or_below_the_folder(path: str) -> None:
    folder = Path("/home/predictions")
    try:
        validate_relative_path(path)
    except ValueError:
        return
    resolved = Path(os.path.normpath(folder / path))
    assert folder in resolved.parents
    assert resolved == folder / path


@pytest.mark.parametrize("name", [*OUTSIDE, "a/b"])
def test_manifests_name_files_of_their_folder(name: str) -> None:
    shard: dict[str, Any] = {"name": "shard-0", "rows": 1, "first_key": "a", "last_key": "b"}
    Shard(**shard, result="r")
    with pytest.raises(ValidationError):
        Shard(**shard, result=name)
    with pytest.raises(ValidationError):
        Shard(**shard | {"name": name}, result="r")
    with pytest.raises(ValidationError):
        Decision(
            model="m",
            version=name,
            effective_from=dt.date(2024, 1, 7),
            decision="kept",
            why="",
        )
