-- The rows of tiles.item_totals at the end of $date, where the tile is not read.
select item_id, min(date) as first_date, max(date) as last_date, count(*) as events
from raw.interactions
where date <= $date::DATE
group by item_id
