-- Price and availability of every item listed or wanted so far. An item that is not a good to
-- recommend (fuel, coupons: source.exclude_items) is not available.
with wanted as (
    select
        item_id,
        median(amount / quantity) filter (
            date > $date::DATE - 28 and quantity > 0 and amount > 0
        ) as paid
    from raw.interactions
    where date <= $date::DATE
    group by item_id
)
select
    $date::DATE as date,
    coalesce(items.item_id, wanted.item_id) as item_id,
    coalesce(nullif(items.title, ''), items.item_id, wanted.item_id) as title,
    coalesce(items.category, 'unknown') as category,
    coalesce(items.price, wanted.paid) as price,
    coalesce(items.available, true)
        and not coalesce(list_contains($exclude_category::VARCHAR[], items.category), false)
        and not coalesce(list_contains($exclude_subcategory::VARCHAR[], items.subcategory), false)
        and not coalesce(list_contains($exclude_brand::VARCHAR[], items.brand), false)
        as available
from raw.items as items
full join wanted on wanted.item_id = items.item_id
