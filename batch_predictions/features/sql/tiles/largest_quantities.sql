-- The largest line of demand of every item with one in the days from $first to $last.
select item_id, max(coalesce(quantity, 1)) as quantity
from raw.interactions
where date >= $first::DATE and date <= $last::DATE and {is_counted event_types}
group by item_id
