-- The rows of tiles.item_quantities at the end of $date, where the tile is not read.
select item_id, coalesce(quantity, 1) as quantity, count(*) as lines
from raw.interactions
where
    date <= $date::DATE
    and date > $date::DATE - $history_days::INTEGER
    and {is_counted event_types}
    and coalesce(quantity, 1) > 0
group by 1, 2
