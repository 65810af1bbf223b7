"""Features of items from the promotions of the coming week, which are known in advance."""

from __future__ import annotations

from batch_predictions.features.sql.queries import sql

PROMOTIONS_AHEAD = {
    "promoted_change": "shops that promote it in the coming week, relative to the last four",
    "display_change": "shops that display it in the coming week, relative to the last four",
    "mailer_change": "shops whose mailer has it in the coming week, relative to the last four",
}
"""Columns, differences of shares between -1 and 1, with their words for reasons."""


def promotions_ahead_sql() -> str:
    """The query of `item_id` and these columns, as of `$date`.

    The seven days after it are compared with the four weeks that end with it. All items have nulls
    if no promotion changes, or if raw.promotion_calendar lacks these weeks.
    """
    columns = ", ".join(
        f"coalesce(changes.{name.removesuffix('_change')}, 0)::DOUBLE as {name}"
        for name in PROMOTIONS_AHEAD
    )
    return f"""
        with changes as materialized ({sql("promotion_changes")})
        select items.item_id, {columns}
        from raw.items as items left join changes on changes.item_id = items.item_id
        where (select count(*) from changes) > 0"""
