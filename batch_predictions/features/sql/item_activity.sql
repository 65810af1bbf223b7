-- Activity of every item with an interaction in the last 84 days.
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
    coalesce(fsum(quantity) filter (date > $date::DATE - 28), 0) as quantity_28d,
    coalesce(fsum(amount) filter (date > $date::DATE - 28), 0) as amount_28d
from raw.interactions
where date <= $date::DATE and date > $date::DATE - 84
group by item_id
