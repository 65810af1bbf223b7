-- Units and price of every demand series on the days from $first to $last. Excluded items are left out, and
-- the quantity of a line is capped, by what is known of items at the end of $date.
with lines as (
    select
        events.date,
        events.item_id,
        coalesce(nullif(events.location, ''), 'unknown') as location,
        coalesce(items.category, 'unknown') as category,
        -- A line without a quantity counts as one unit.
        coalesce(events.quantity, 1) as line_quantity,
        case
            when $outlier_factor::DOUBLE > 0
                then least(line_quantity, $outlier_factor::DOUBLE * typical.typical_quantity)
            else line_quantity
        end as quantity,
        events.amount,
        case when line_quantity > 0 and events.amount > 0 then line_quantity end
            as priced_quantity
    from raw.interactions as events
    join ({query typical_quantities}) as typical on typical.item_id = events.item_id
    left join (
        select item_id, category, {is_excluded} as is_excluded from raw.items
    ) as items on items.item_id = events.item_id
    where
        events.date >= $first::DATE
        and events.date <= $last::DATE
        and {is_counted event_types}
        and items.is_excluded is not true
)
select
    date as day,
    level,
    case level when 'category' then 'category:' || category else item_id end as item_id,
    case level when 'item_location' then location else 'all' end as location,
    case level when 'category' then 'category:' || category else category end as category,
    -- Returns are subtracted; the units of a day are never negative.
    greatest(fsum(quantity), 0) as units,
    fsum(amount) filter (priced_quantity is not null) / fsum(priced_quantity) as price
from lines, (select unnest($levels::VARCHAR[]) as level)
group by all
