-- The usual price of every item that all users bought more than once in the last 84 days: the median of
-- the price per unit over lines, from the number of lines of each price, since DuckDB's median holds
-- every line in memory (1.8 GiB for 23 million).
with counts as (
    select item_id, amount / quantity as price, count(*) as lines
    from raw.interactions
    where
        date <= $date::DATE
        and date > $date::DATE - least(84, $churn_history_days::INTEGER)
        and {is_purchase churn_event_types}
        and quantity > 0
        and amount > 0
    group by item_id, price
),
running as (
    select
        item_id,
        price,
        sum(lines) over (partition by item_id order by price) as lines_up_to,
        sum(lines) over (partition by item_id) as all_lines
    from counts
)
select
    item_id,
    -- The two middle lines, which are one where their number is odd.
    (
        min(price) filter (2 * lines_up_to >= all_lines)
        + min(price) filter (2 * lines_up_to > all_lines)
    ) / 2 as usual
from running
where all_lines > 1
group by item_id
