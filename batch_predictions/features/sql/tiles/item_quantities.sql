-- Lines of demand by item and quantity in the last $history_days days, from the numbers at the end of
-- $base, the days after it, and the days that are no longer among the last. Whole numbers: a difference is
-- exact.
with parts as (
    select item_id, quantity, lines from tiles.item_quantities where date = $base::DATE
    union all
    select item_id, coalesce(quantity, 1), 1
    from raw.interactions
    where
        date > $base::DATE
        and date <= $date::DATE
        and date > $date::DATE - $history_days::INTEGER
        and {is_counted event_types}
    union all
    select item_id, coalesce(quantity, 1), -1
    from raw.interactions
    where
        $base::DATE > DATE '0001-01-01'
        and date <= $date::DATE - $history_days::INTEGER
        and date <= $base::DATE
        and date > greatest($base::DATE, DATE '0001-01-01' + $history_days::INTEGER)
            - $history_days::INTEGER
        and {is_counted event_types}
)
select $date::DATE as date, item_id, quantity, sum(lines)::BIGINT as lines
from parts
where quantity > 0
group by item_id, quantity
having sum(lines) > 0
