select item_id, min(date) as first_date, max(date) as last_date, count(*) as events
from raw.interactions
where date <= $date::DATE
group by item_id
