-- Interactions of every user by location, from the numbers at the end of $base and the days after it.
with parts as (
    select user_id, location, events from tiles.user_locations where date = $base::DATE
    union all
    select user_id, location, 1 from raw.interactions
    where date > $base::DATE and date <= $date::DATE and location is not null
)
select $date::DATE as date, user_id, location, sum(events)::BIGINT as events
from parts
group by user_id, location
