-- Recency, frequency and spend of every user, from all interactions up to the day, whatever their
-- type. Spend is the amount of purchases, less returns.
select
    $date::DATE as date,
    user_id,
    min(date) as first_date,
    max(date) as last_date,
    $date::DATE - max(date) as days_inactive,
    count(*) as events,
    count(distinct item_id) as items,
    count(distinct date) filter (date > $date::DATE - 7) as active_days_7d,
    count(distinct date) filter (date > $date::DATE - 28) as active_days_28d,
    count(distinct date) filter (date > $date::DATE - 84) as active_days_84d,
    count(*) filter (date > $date::DATE - 7) as events_7d,
    count(*) filter (date > $date::DATE - 28) as events_28d,
    count(*) filter (date > $date::DATE - 84) as events_84d,
    -- fsum: sums of doubles must not depend on the number of threads.
    coalesce(fsum(amount) filter (date > $date::DATE - 7 and is_counted), 0) as spend_7d,
    coalesce(fsum(amount) filter (date > $date::DATE - 28 and is_counted), 0) as spend_28d,
    coalesce(fsum(amount) filter (date > $date::DATE - 84 and is_counted), 0) as spend_84d
from (
    select
        *,
        {is_counted purchase_types} as is_counted
    from raw.interactions
)
where date <= $date::DATE
group by user_id
