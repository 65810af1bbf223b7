-- Running totals of every user, from those at the end of $base and the days after it. An item is new to a
-- user if no day up to $base has the two.
with new_items as (
    select user_id, item_id, min(day) as first_date, max(day) as last_date,
        sum(interactions) as events
    from {spans user_items after $base::DATE}
    group by user_id, item_id
),
known_items as (
    select distinct earlier.user_id, earlier.item_id
    from {spans user_items until $base::DATE} as earlier
    semi join new_items
        on new_items.user_id = earlier.user_id and new_items.item_id = earlier.item_id
),
parts as (
    select user_id, first_date, last_date, events, items
    from tiles.user_totals where date = $base::DATE
    union all
    select user_id, min(first_date), max(last_date), sum(events), count(*)
    from new_items group by user_id
    union all
    select user_id, null, null, 0, -count(*) from known_items group by user_id
)
select
    $date::DATE as date,
    user_id,
    min(first_date) as first_date,
    max(last_date) as last_date,
    sum(events)::BIGINT as events,
    sum(items)::BIGINT as items
from parts
group by user_id
