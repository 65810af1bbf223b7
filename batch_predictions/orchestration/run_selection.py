"""Some of the tables and models of a run, with what they need."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from batch_predictions.inference.base import asset_key_of
from batch_predictions.orchestration.jobs import NIGHTLY, WEEKLY_TRAINING
from batch_predictions.settings import SettingsError
from batch_predictions.tables import DEMOGRAPHIC_RECOMMENDATIONS, RECOMMENDATIONS

MADE_GROUPS = tuple(
    group
    for group in (*WEEKLY_TRAINING.groups, *NIGHTLY.groups)
    if group not in ("sources", "serving")
)
"""Groups whose assets can be selected; sources are ingested and a release is made in any case."""


def select_assets(graph: dg.BaseAssetGraph, names: Iterable[str]) -> frozenset[dg.AssetKey]:
    """Resolves names to assets, with all that they need; recommendations need the fallback.

    Args:
        graph: the asset graph.
        names: of tables or models, such as `churn_scores`, `predictions.churn_scores` or
            `models/churn`; of a name without schema all that have it.

    Raises:
        SettingsError: there is no such table or model; the message lists them.
    """
    groups = dg.AssetSelection.groups(*MADE_GROUPS)
    known = groups.resolve(graph)
    chosen: set[dg.AssetKey] = set()
    for name in names:
        path = name.replace("/", ".").split(".")
        keys = {key for key in known if [*key.path][-len(path) :] == path}
        if not keys:
            shown = ", ".join(sorted({key.path[-1] for key in known if key.path[0] in _SHOWN}))
            raise SettingsError(f"--only {name}: there is no such table or model: {shown}")
        chosen |= keys
    if asset_key_of(RECOMMENDATIONS) in chosen:
        # Without the fallback, the release would have no list for users who are new.
        chosen.add(asset_key_of(DEMOGRAPHIC_RECOMMENDATIONS))
    needed = dg.AssetSelection.assets(*chosen).upstream() & groups
    return frozenset(needed.resolve(graph))


_SHOWN = ("predictions", "models")
