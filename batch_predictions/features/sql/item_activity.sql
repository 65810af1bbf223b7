-- Activity of every item with an interaction of any type in the last 84 days. Buyers are users with an
-- interaction of a target type; units and amounts are those of purchases, less returns.
with pairs as (
    -- The newest day of a user tells whether a window has the user.
    select
        item_id,
        user_id,
        max(day) as last_date,
        max(day) filter (is_target) as last_target_date,
        sum(interactions) filter (day > $date::DATE - 7) as events_7d,
        sum(interactions) filter (day > $date::DATE - 28) as events_28d,
        sum(interactions) as events_84d
    from {spans user_items last 84}
    group by item_id, user_id
),
sales as (
    select item_id, fsum(quantity) as quantity_28d, fsum(amount) as amount_28d
    from raw.interactions
    where date <= $date::DATE and date > $date::DATE - 28 and {is_counted purchase_types}
    group by item_id
),
windows as (
    select
        item_id,
        max(last_date) as last_date,
        count(*) filter (last_date > $date::DATE - 7) as users_7d,
        count(*) filter (last_date > $date::DATE - 28) as users_28d,
        count(*) as users_84d,
        coalesce(sum(events_7d), 0)::BIGINT as events_7d,
        coalesce(sum(events_28d), 0)::BIGINT as events_28d,
        sum(events_84d)::BIGINT as events_84d,
        count(*) filter (last_target_date > $date::DATE - 28) as buyers_28d,
        count(last_target_date) as buyers_84d
    from pairs
    group by item_id
)
select
    $date::DATE as date,
    windows.item_id,
    windows.last_date,
    windows.users_7d,
    windows.users_28d,
    windows.users_84d,
    windows.events_7d,
    windows.events_28d,
    windows.events_84d,
    coalesce(sales.quantity_28d, 0) as quantity_28d,
    coalesce(sales.amount_28d, 0) as amount_28d,
    windows.buyers_28d,
    windows.buyers_84d
from windows
left join sales on sales.item_id = windows.item_id
