-- Recency, frequency and spend of every user, from all interactions up to the day, whatever their
-- type. Spend is the amount of purchases, less returns. The totals are running ones; only the last 84 days
-- are read.
with days as (
    select user_id, day, sum(interactions) as events
    from {spans user_items last 84}
    group by user_id, day
),
windows as (
    select
        user_id,
        count(*) filter (day > $date::DATE - 7) as active_days_7d,
        count(*) filter (day > $date::DATE - 28) as active_days_28d,
        count(*) as active_days_84d,
        sum(events) filter (day > $date::DATE - 7) as events_7d,
        sum(events) filter (day > $date::DATE - 28) as events_28d,
        sum(events) as events_84d
    from days
    group by user_id
),
spends as (
    select
        user_id,
        -- fsum: sums of doubles must not depend on the number of threads. Sums of days would be rounded.
        fsum(amount) filter (date > $date::DATE - 7) as spend_7d,
        fsum(amount) filter (date > $date::DATE - 28) as spend_28d,
        fsum(amount) as spend_84d
    from raw.interactions
    where date <= $date::DATE and date > $date::DATE - 84 and {is_counted purchase_types}
    group by user_id
)
select
    $date::DATE as date,
    totals.user_id,
    totals.first_date,
    totals.last_date,
    $date::DATE - totals.last_date as days_inactive,
    totals.events,
    totals.items,
    coalesce(windows.active_days_7d, 0) as active_days_7d,
    coalesce(windows.active_days_28d, 0) as active_days_28d,
    coalesce(windows.active_days_84d, 0) as active_days_84d,
    coalesce(windows.events_7d, 0)::BIGINT as events_7d,
    coalesce(windows.events_28d, 0)::BIGINT as events_28d,
    coalesce(windows.events_84d, 0)::BIGINT as events_84d,
    coalesce(spends.spend_7d, 0) as spend_7d,
    coalesce(spends.spend_28d, 0) as spend_28d,
    coalesce(spends.spend_84d, 0) as spend_84d
from {running user_totals} as totals
left join windows on windows.user_id = totals.user_id
left join spends on spends.user_id = totals.user_id
