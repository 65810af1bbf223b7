"""Assigns users to experiments by a hash of their id."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from batch_predictions.settings import ExperimentSettings

FALLBACK = "fallback"
_HASHES = 2**64
_COLUMNS = {"user_id", "rank", "item_id", "score", "model_version"}
"""Of a table that lists are read from."""


class Assignment(NamedTuple):
    """The experiment that a user is in, and the list that it serves.

    Attributes:
        bucket: its name.
        list: `fallback`, or the table that their list is read from.
    """

    bucket: str
    list: str


class Experiments:
    """Assigns users to the experiments of `serving.experiments`.

    A user is always assigned alike, on every machine: the hash depends on the experiment's name and
    the user's id only. Hashes of several experiments are independent; the first one that chooses a
    user has the user.
    """

    def __init__(self, experiments: Mapping[str, ExperimentSettings]) -> None:
        """Takes the setting `serving.experiments`: the list and the share of users, by name."""
        self._experiments = [
            (name, experiment.list, int(experiment.share * _HASHES))
            for name, experiment in experiments.items()
        ]

    def assign(self, user_id: str, tables: Mapping[str, Mapping[str, object]]) -> Assignment | None:
        """The experiment of a user; None: the user is in none.

        Args:
            user_id: as the source writes ids.
            tables: entries of the release's tables; an experiment whose table is not among them,
                or has no lists, has no users.
        """
        for name, list_, limit in self._experiments:
            text = f"{name}\0{user_id}".encode("utf-8", "surrogatepass")
            number = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
            if number < limit and (list_ == FALLBACK or _has_lists(tables.get(list_))):
                return Assignment(name, list_)
        return None


def _has_lists(entry: Mapping[str, Any] | None) -> bool:
    """Returns whether a table of a release has the columns of ranked lists."""
    return entry is not None and set(entry["columns"]) >= _COLUMNS
