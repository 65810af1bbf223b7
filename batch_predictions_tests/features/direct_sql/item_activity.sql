-- Activity of every item with an interaction of any type in the last 84 days. Buyers are users with an
-- interaction of a target type; units and amounts are those of purchases, less returns.
select
    $date::DATE as date,
    item_id,
    max(date) as last_date,
    count(distinct user_id) filter (date > $date::DATE - 7) as users_7d,
    count(distinct user_id) filter (date > $date::DATE - 28) as users_28d,
    count(distinct user_id) as users_84d,
    count(*) filter (date > $date::DATE - 7) as events_7d,
    count(*) filter (date > $date::DATE - 28) as events_28d,
    count(*) as events_84d,
    coalesce(fsum(quantity) filter (date > $date::DATE - 28 and is_counted), 0) as quantity_28d,
    coalesce(fsum(amount) filter (date > $date::DATE - 28 and is_counted), 0) as amount_28d,
    count(distinct user_id) filter (date > $date::DATE - 28 and is_target) as buyers_28d,
    count(distinct user_id) filter (is_target) as buyers_84d
from (
    select
        *,
        {is_counted purchase_types} as is_counted,
        list_contains($target_types::VARCHAR[], event_type) as is_target
    from raw.interactions
)
where date <= $date::DATE and date > $date::DATE - 84
group by item_id
