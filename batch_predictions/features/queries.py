"""The features' queries and the settings that they bind."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

from batch_predictions.features import conditions
from batch_predictions.home import read_state
from batch_predictions.settings import Settings
from batch_predictions.sources import registry
from batch_predictions.sources.item_exclusions import exclusion_parameters

_CONDITION = re.compile(r"\{(is_purchase|is_counted) (\w+)\}")


def sql(name: str) -> str:
    """The query in `features/sql/<name>.sql`.

    In the file, `{is_excluded}`, `{is_purchase TYPES}` and `{is_counted TYPES}` stand for the
    conditions of `features/conditions.py`.
    """
    text = (resources.files(__package__) / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    text = text.replace("{is_excluded}", conditions.IS_EXCLUDED)
    return _CONDITION.sub(lambda match: getattr(conditions, match[1])(match[2]), text)


PURCHASES = f"(select * from raw.interactions where {conditions.is_purchase('purchase_types')})"
"""SQL of the interactions that are purchases; returns are left out."""


def user_item_days(item_state: str) -> str:
    """The query of users' days with items, over a relation of item states.

    Args:
        item_state: SQL of the item states as of `$date`: the partition, where it is made, or
            `sql("item_state")`, which makes it.
    """
    return sql("user_item_days").format(item_state=item_state)


def parameters(settings: Settings) -> dict[str, Any]:
    """What the queries bind besides `$date`."""
    source = registry.build_source(settings.source, read_state(settings.home))
    event_types = registry.event_types(settings)
    excluded = settings.source.exclude_items or source.exclude_items
    return {
        **event_types.parameters(),
        **exclusion_parameters(excluded),
        "location_from_interactions": settings.fallback.location_from_interactions,
        "churn_active_days": settings.churn.active_days,
        "churn_event_types": settings.churn.event_types or list(event_types.purchases),
        "churn_history_days": settings.churn.history_days,
    }
