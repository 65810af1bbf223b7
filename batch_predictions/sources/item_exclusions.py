"""Items that are never recommended: columns and attributes of `source.exclude_items`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import duckdb

from batch_predictions.settings import Settings, SettingsError
from batch_predictions.tables import ITEMS
from batch_predictions.warehouse import Warehouse

COLUMNS = ("category", "subcategory", "brand")
"""Columns of raw.items that items are excluded by; any other name is an attribute."""
SEPARATOR = "\x1f"


def attribute_names(db: duckdb.DuckDBPyConnection, items: str) -> list[str]:
    """Names of the attributes that items have, sorted.

    Args:
        db: a connection that has the items.
        items: relation with the rows of raw.items.
    """
    query = f"select distinct unnest(map_keys(attributes)) as name from {items} order by 1"
    return [name for (name,) in db.execute(query).fetchall()]


def exclusion_parameters(excluded: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """Parameters of queries: excluded values by column, and attributes as name and value.

    Args:
        excluded: column or attribute of raw.items to values.
    """
    return {
        **{f"exclude_{column}": list(excluded.get(column, ())) for column in COLUMNS},
        "exclude_attributes": [
            f"{name}{SEPARATOR}{value}"
            for name, values in sorted(excluded.items())
            if name not in COLUMNS
            for value in values
        ],
    }


def unknown_exclusions_message(
    excluded: Mapping[str, Sequence[str]], attributes: Collection[str]
) -> str | None:
    """The error message if `source.exclude_items` names no column or attribute; else None.

    Args:
        excluded: the setting.
        attributes: names of the attributes that items have.
    """
    unknown = sorted(set(excluded) - {*COLUMNS, *attributes})
    if not unknown:
        return None
    known = ", ".join([*COLUMNS, *sorted(attributes)])
    return (
        f"source.exclude_items names {', '.join(unknown)}: items are excluded by one of {known} "
        "(columns of your items that are not mapped are attributes)"
    )


def validate_exclusions(settings: Settings, warehouse: Warehouse) -> None:
    """Checks `source.exclude_items` against the attributes that ingested items have.

    Raises:
        SettingsError: it names nothing that items have.
    """
    if not settings.source.exclude_items or not warehouse.path(ITEMS).exists():
        return
    with warehouse.connect() as db:
        attributes = attribute_names(db, ITEMS.qualified)
    message = unknown_exclusions_message(settings.source.exclude_items, attributes)
    if message:
        raise SettingsError(message)
