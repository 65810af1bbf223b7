select item_id, coalesce(quantity, 1) as quantity, count(*) as lines
from raw.interactions
where
    date <= $date::DATE
    and date > $date::DATE - $history_days::INTEGER
    and {is_counted event_types}
    and coalesce(quantity, 1) > 0
group by 1, 2
