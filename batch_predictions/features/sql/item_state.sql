-- Price and availability of every item in the catalogue or in interactions up to the day. An item that
-- is never recommended (fuel, coupons: source.exclude_items) is excluded and not available.
with prices as (
    select item_id, median(amount / quantity) as paid
    from raw.interactions
    where
        date <= $date::DATE
        and date > $date::DATE - 28
        and quantity > 0
        and amount > 0
        and list_contains($purchase_types::VARCHAR[], event_type)
    group by item_id
),
interacted as (
    select totals.item_id, prices.paid
    from {running item_totals} as totals
    left join prices on prices.item_id = totals.item_id
)
select
    $date::DATE as date,
    coalesce(items.item_id, interacted.item_id) as item_id,
    coalesce(nullif(items.title, ''), items.item_id, interacted.item_id) as title,
    coalesce(items.category, 'unknown') as category,
    coalesce(items.price, interacted.paid) as price,
    {is_excluded} as is_excluded,
    coalesce(items.available, true) and not is_excluded as available
from raw.items as items
full join interacted on interacted.item_id = items.item_id
