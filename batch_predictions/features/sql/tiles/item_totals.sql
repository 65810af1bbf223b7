-- Running totals of every item, from those at the end of $base and the days after it.
with parts as (
    select item_id, first_date, last_date, events from tiles.item_totals where date = $base::DATE
    union all
    select item_id, day, day, interactions
    from {spans user_items after $base::DATE}
)
select
    $date::DATE as date,
    item_id,
    min(first_date) as first_date,
    max(last_date) as last_date,
    sum(events)::BIGINT as events
from parts
group by item_id
