"""Describes the release that applications read: its day, and since when it serves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from batch_predictions.serving.store.pointer import Release
from batch_predictions.serving.store.snapshot import ReadStore
from batch_predictions.serving.store.store import store_url
from batch_predictions.settings import Settings


def served_since(releases: Sequence[Release]) -> dt.datetime | None:
    """When the pointer moved to the current release, UTC; None: there is none.

    A roll-back leaves its time on the releases that it withdrew.

    Args:
        releases: all of the store.
    """
    created = [release.created_at for release in releases if release.current]
    withdrawn = [release.withdrawn_at for release in releases if release.withdrawn_at]
    return max([*created, *withdrawn]) if created else None


def describe_served(settings: Settings) -> str:
    """Says in a sentence which release applications read, and since when.

    Raises:
        StoreError: the store cannot be read.
    """
    with ReadStore(store_url(settings)) as store:
        releases = store.releases()
    since = served_since(releases)
    if since is None:
        return "Applications see no predictions yet."
    [current] = [release for release in releases if release.current]
    return (
        f"Applications see release {current.release_id} as of {current.as_of}, "
        f"since {since:%Y-%m-%d %H:%M} UTC."
    )
