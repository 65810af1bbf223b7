-- The median line of every item in the history up to $date, from the number of lines by quantity.
with counts as (
    select
        item_id,
        quantity,
        sum(lines) over (partition by item_id order by quantity) as lines_up_to,
        sum(lines) over (partition by item_id) as lines
    from {running item_quantities}
)
select
    item_id,
    list_median([
        min(quantity) filter (lines_up_to > (lines - 1) // 2),
        min(quantity) filter (lines_up_to > lines // 2)
    ]) as typical_quantity
from counts
group by item_id
