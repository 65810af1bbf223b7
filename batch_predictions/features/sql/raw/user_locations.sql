-- The rows of tiles.user_locations at the end of $date, where the tile is not read.
select user_id, location, count(*) as events
from raw.interactions
where date <= $date::DATE and location is not null
group by user_id, location
