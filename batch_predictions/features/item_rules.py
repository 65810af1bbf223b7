"""The table features.item_rules: what the rules of recommendations say of each item on a day."""

from __future__ import annotations

from collections.abc import Mapping

from batch_predictions.settings import Settings
from batch_predictions.sources.recommendation_rules import ItemRules
from batch_predictions.warehouse import Warehouse

RECOMMENDABLE_ITEMS = """(
    select state.* from features.item_state as state
    anti join (select item_id from features.item_rules where date = $date and is_blocked) as blocked
        on blocked.item_id = state.item_id
    where state.date = $date and state.available
)"""
"""SQL of the items that may be recommended on `$date`: available, and not blocked by a rule."""

RULES_OF_ITEMS = """select item_id, boost, groups from features.item_rules
    where date = $date and not is_blocked order by item_id"""
"""SQL of the rules of the other items on `$date`."""


def item_rules_query(settings: Settings) -> str:
    """Builds the query of the items that rules concern.

    Raises:
        SettingsError: a rule is not an expression over an item's columns.
    """
    rules = ItemRules.of(settings)
    return f"""
        select * from (
            select
                $date::DATE as date,
                item_id,
                list_contains($blocked_items::VARCHAR[], item_id) or {rules.blocked_sql}
                    as is_blocked,
                ({rules.boost_sql} + case when item_id in (
                    select item_id from raw.promotions
                    where list_contains($boosted_campaigns::VARCHAR[], campaign_id)
                    and starts_on <= $date::DATE + 1 and ends_on > $date::DATE
                ) then $boost_places::INTEGER else 0 end)::INTEGER as boost,
                {rules.groups_sql} as groups
            from (
                select
                    state.item_id, state.title, nullif(state.category, 'unknown') as category,
                    items.subcategory, items.brand, state.price, items.attributes
                    {rules.attributes_sql}
                from features.item_state as state
                left join raw.items as items on items.item_id = state.item_id
                where state.date = $date
            )
        )
        where is_blocked or boost <> 0
            or len(list_filter(groups, lambda item_group: item_group is not null)) > 0
    """


def rule_parameters(warehouse: Warehouse, settings: Settings) -> Mapping[str, object]:
    """Returns the settings that the query binds besides `$date`."""
    del warehouse
    config = settings.recommendations
    return {
        "blocked_items": config.blocked_items,
        "boosted_campaigns": config.boosted_campaigns,
        "boost_places": config.boost_places,
    }
