-- The rows of tiles.user_totals at the end of $date, where the tile is not read.
select
    user_id,
    min(date) as first_date,
    max(date) as last_date,
    count(*) as events,
    count(distinct item_id) as items
from raw.interactions
where date <= $date::DATE
group by user_id
