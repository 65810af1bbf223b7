"""The features' queries, the conditions that they share, and the settings that they bind.

Training and daily forecasts of demand use the same query, so that both see what was known at the
end of a day.
"""

from __future__ import annotations

import re
from importlib import resources

from batch_predictions.core.home import read_state
from batch_predictions.settings import Settings
from batch_predictions.sources import source_registry
from batch_predictions.sources.item_exclusions import exclusion_parameters
from batch_predictions.tables import PROMOTION_CALENDAR
from batch_predictions.warehouse import Warehouse

_IS_OF_TYPES = "list_contains(${types}::VARCHAR[], event_type)"
_IS_EXCLUDED_VALUE = "coalesce(list_contains($exclude_{name}::VARCHAR[], {name}), false)"

IS_EXCLUDED = f"""(
    {" or ".join(_IS_EXCLUDED_VALUE.format(name=n) for n in ("category", "subcategory", "brand"))}
    or coalesce(list_has_any(
        list_transform(map_entries(attributes), lambda entry: entry.key || chr(31) || entry.value),
        $exclude_attributes::VARCHAR[]
    ), false)
)"""
"""Whether an item of raw.items is never recommended (`source.exclude_items`)."""


def is_purchase(types: str) -> str:
    """Builds the SQL condition that an interaction is a purchase.

    A negative quantity is a return.

    Args:
        types: name of the parameter with the event types that are purchases.
    """
    return f"({_IS_OF_TYPES.format(types=types)} and coalesce(quantity, 0) >= 0)"


def is_counted(types: str) -> str:
    """Builds the SQL condition that units and amount of an interaction count.

    They count for a purchase and for a return.

    A return is subtracted: its quantity and amount are negative. Returns do not count with
    `source.returns: exclude`.
    """
    return (
        f"(({_IS_OF_TYPES.format(types=types)} or {_IS_OF_TYPES.format(types='return_types')}) "
        "and (coalesce(quantity, 0) >= 0 or len($return_types::VARCHAR[]) > 0))"
    )


_CONDITIONS = {"is_purchase": is_purchase, "is_counted": is_counted}
_CONDITION = re.compile(r"\{(is_purchase|is_counted) (\w+)\}")
_QUERY = re.compile(r"\{query (\w+)\}")
_RUNNING = re.compile(r"\{running (\w+)\}")
_SPANS = re.compile(r"\{spans (\w+) (last|after|until) ([^}]+)\}")
_LAST_MONTH_END = "date_trunc('month', $date::DATE + 1)::DATE - 1"
"""The newest end of a month up to `$date`; constant, so that no other file is opened."""
RAW_INTERACTIONS = "raw.interactions"
_FIRST_DAY = "DATE '0001-01-01'"


def sql(name: str, *, tiles: bool = False, interactions: str = RAW_INTERACTIONS) -> str:
    """Reads the query in `features/sql/<name>.sql`.

    In the file, `{is_excluded}`, `{is_purchase TYPES}` and `{is_counted TYPES}` stand for these
    conditions, and `{query NAME}` for the query of that name; `{running TILE}` for a tile's running
    totals at the end of `$date`; `{spans TILE last DAYS}`, `{spans TILE after DAY}` and
    `{spans TILE until DAY}` for a tile's rows of the last days up to `$date`, of those after a day,
    and of those up to one.

    Args:
        name: of the file.
        tiles: whether tiles are read. Else their rows are computed from the raw tables, as for past
            days that a training describes: the rows are equal, the cost grows with history.
        interactions: without tiles, a relation with the rows of raw.interactions of some users,
            which is read instead, but by `{query NAME}`.
    """
    text = (resources.files(__package__) / f"{name}.sql").read_text(encoding="utf-8")
    text = _RUNNING.sub(lambda match: _running(match[1], tiles), text)
    text = _SPANS.sub(lambda match: _spans(match[1], match[2], match[3], tiles), text)
    text = text.replace(RAW_INTERACTIONS, interactions)
    text = _QUERY.sub(lambda match: sql(match[1], tiles=tiles), text)
    text = text.replace("{is_excluded}", IS_EXCLUDED)
    return _CONDITION.sub(lambda match: _CONDITIONS[match[1]](match[2]), text)


def _running(tile: str, tiles: bool) -> str:
    """A relation with the running totals of a tile at the end of `$date`."""
    if tiles:
        return f"(select * from tiles.{tile} where date = $date::DATE)"
    return f"({sql(f'raw/{tile}')})"


def _spans(tile: str, bound: str, value: str, tiles: bool) -> str:
    """A relation with a tile's rows of some days; a month that has ended is read from its span.

    Args:
        tile: name of its table.
        bound: `last`, `after` or `until`.
        value: SQL of the number of days, or of the day.
        tiles: whether the tile is read, or its query for all these days.
    """
    first, last = _FIRST_DAY, "$date::DATE"
    if bound == "last":
        first = f"($date::DATE - {value} + 1)"
    elif bound == "after":
        first = f"({value} + 1)"
    else:
        last = value
    if not tiles:
        text = sql(f"tiles/{tile}").replace("$first::DATE", first).replace("$last::DATE", last)
        return f"({text})"
    spans = " union all ".join(
        f"select * exclude (date, span) from tiles.{tile} "
        f"where span = '{span}' and {condition} and date >= {first} "
        f"and day >= {first} and day <= {last}"
        for span, condition in (
            ("month", f"date <= {_LAST_MONTH_END}"),
            ("day", f"date > {_LAST_MONTH_END} and date <= {last}"),
        )
    )
    return f"({spans})"


PURCHASES = f"(select * from raw.interactions where {is_purchase('purchase_types')})"
"""SQL of the interactions that are purchases; returns are left out."""


def user_item_days(item_state: str, interactions: str = RAW_INTERACTIONS) -> str:
    """The query of users' days with items, over a relation of item states.

    Args:
        item_state: SQL of the item states as of `$date`: the partition, where it is made, or
            `sql("item_state")`, which makes it.
        interactions: a relation with the rows of raw.interactions, or with those of some users.
    """
    return sql("user_item_days", interactions=interactions).format(item_state=item_state)


def user_item_history(item_state: str) -> str:
    """The query of the same rows, read from `tiles.user_items`."""
    return sql("user_item_history", tiles=True).format(item_state=item_state)


def parameters(settings: Settings) -> dict[str, object]:
    """Returns the parameters that the queries bind besides `$date`."""
    source = source_registry.build_source(settings.source, read_state(settings.home))
    event_types = source_registry.event_types(settings)
    excluded = settings.source.exclude_items or source.exclude_items
    return {
        **event_types.parameters(),
        **exclusion_parameters(excluded),
        "location_from_interactions": settings.fallback.location_from_interactions,
        "churn_event_types": settings.churn.event_types or list(event_types.purchases),
    }


def demand_parameters(warehouse: Warehouse, settings: Settings) -> dict[str, object]:
    """Returns the parameters that the query of the demand series binds besides `$date`.

    `known_weeks` are the weeks of the promotion calendar that were ingested; promotions of other
    weeks are null.
    """
    demand = settings.demand
    return {
        **parameters(settings),
        "levels": list(demand.levels),
        "max_series": demand.max_series,
        "horizon": demand.horizon,
        "history_days": demand.history_days,
        "event_types": list(demand.event_types),
        "outlier_factor": demand.outlier_factor,
        "known_weeks": warehouse.partitions(PROMOTION_CALENDAR),
    }
