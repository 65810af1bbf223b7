"""The platform's own feature tables, with the plots of a day for the assets' metadata."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING

from batch_predictions.features.base import FeatureTable
from batch_predictions.features.history.churn_history import churn_history_query
from batch_predictions.features.item_rules import item_rules_query, rule_parameters
from batch_predictions.features.sql.queries import demand_parameters
from batch_predictions.tables import (
    CHURN_HISTORY,
    DEMAND,
    ITEM_ACTIVITY,
    ITEM_RULES,
    ITEM_STATE,
    USER_ACTIVITY,
    USER_SEGMENTS,
)
from batch_predictions.warehouse import Warehouse, as_date
from batch_predictions.warehouse.plot_style import date_axis, new_axes
from batch_predictions.warehouse.reporting import item_labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Plot = Callable[[Warehouse, str], "Figure | None"]


def _bars(title: str, sql: str, x: str, y: str) -> Plot:
    """Bars of a query's columns, label or date and height."""

    def draw(warehouse: Warehouse, day: str) -> Figure | None:
        rows = warehouse.query(sql, {"date": as_date(day)})
        if not rows.num_rows:
            return None
        figure, ax = new_axes(f"{title}, {day}", x, y)
        labels, heights = (column.to_pylist() for column in rows.columns)
        ax.bar(labels, heights)
        if isinstance(labels[0], dt.date):
            date_axis(ax, labels)
        return figure

    return draw


def _rows(title: str, sql: str, x: str) -> Plot:
    """Rows of a query's columns: label and length, or an item's title, its id and length."""

    def draw(warehouse: Warehouse, day: str) -> Figure | None:
        rows = warehouse.query(sql, {"date": as_date(day)})
        if not rows.num_rows:
            return None
        *names, lengths = (column.to_pylist() for column in rows.columns)
        labels = names[0] if len(names) == 1 else item_labels(list(zip(*names, strict=True)))
        figure, ax = new_axes(f"{title}, {day}", x, rows=labels)
        ax.barh(range(len(labels)), lengths)
        return figure

    return draw


PLOTS: dict[str, Plot] = {
    "user_activity": _bars(
        "Users by days since their newest interaction",
        """select case when days_inactive < 1 then '0' when days_inactive < 3 then '1-2'
        when days_inactive < 7 then '3-6' when days_inactive < 14 then '7-13'
        when days_inactive < 28 then '14-27' when days_inactive < 84 then '28-83'
        else '84+' end as days, count(*) as users
        from features.user_activity where date = $date group by 1 order by min(days_inactive)""",
        "days inactive",
        "users",
    ),
    "item_activity": _rows(
        "Items with most interactions in the last 28 days",
        """select s.title, a.item_id, a.events_28d
        from features.item_activity a join features.item_state s
        on s.item_id = a.item_id and s.date = $date
        where a.date = $date order by a.events_28d desc, a.item_id limit 12""",
        "interactions",
    ),
    "user_segments": _bars(
        "Users by age bracket",
        """select age_bracket, count(*) as users from features.user_segments
        where date = $date group by 1 order by age_bracket = 'unknown', age_bracket <> 'under 19',
        age_bracket""",
        "age bracket",
        "users",
    ),
    "item_state": _rows(
        "Available items by category",
        """select coalesce(category, 'none') as category, count(*) as items
        from features.item_state
        where date = $date and available group by 1 order by 2 desc, 1 limit 12""",
        "items",
    ),
    "churn_history": _bars(
        "Active customers by days inactive relative to their mean gap",
        """select case when churn_overdue is null then 'one visit'
        when churn_overdue < 0.5 then 'under 0.5' when churn_overdue < 1 then '0.5 to 1'
        when churn_overdue < 2 then '1 to 2' when churn_overdue < 4 then '2 to 4'
        else '4 and more' end as overdue_bin, count(*) as customers
        from features.churn_history where date = $date group by 1
        order by min(coalesce(churn_overdue, 1e9))""",
        "days inactive / mean gap between visits",
        "customers",
    ),
    "demand": _bars(
        "Units sold in the last 28 days",
        """with days as (
            select unnest(units[-28:]) as units, unnest(range(28)) as position
            from features.demand where date = $date and level <> 'category' and len(units) >= 28
        )
        select $date::DATE - 27 + position::INTEGER as day, sum(units) as units
        from days group by 1 order by 1""",
        "",
        "units",
    ),
}


user_activity = FeatureTable(USER_ACTIVITY, plot=PLOTS[USER_ACTIVITY.name])
item_activity = FeatureTable(ITEM_ACTIVITY, plot=PLOTS[ITEM_ACTIVITY.name])
user_segments = FeatureTable(USER_SEGMENTS, plot=PLOTS[USER_SEGMENTS.name])
item_state = FeatureTable(ITEM_STATE, plot=PLOTS[ITEM_STATE.name])
item_rules = FeatureTable(ITEM_RULES, parameters=rule_parameters, build_query=item_rules_query)
churn_history = FeatureTable(
    CHURN_HISTORY, build_query=churn_history_query, plot=PLOTS[CHURN_HISTORY.name]
)
demand_series = FeatureTable(DEMAND, parameters=demand_parameters, plot=PLOTS[DEMAND.name])
