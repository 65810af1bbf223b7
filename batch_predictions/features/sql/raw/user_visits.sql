-- The rows of tiles.user_visits at the end of $date, where the tile is not read.
select user_id, list_sort(list(distinct date)) as visit_days
from raw.interactions
where
    date <= $date::DATE
    and date > $date::DATE - $churn_history_days::INTEGER
    and {is_purchase churn_event_types}
group by user_id
