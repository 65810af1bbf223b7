-- What the spans of tiles.daily_sales depend on besides raw days: a hash of the category of the items that
-- were sold in each, whether they are excluded, and the cap of their lines if one exceeds it.
select
    sold.date::VARCHAR as date,
    sold.span,
    sum(hash(
        sold.item_id,
        coalesce(items.category, 'unknown'),
        items.is_excluded is true,
        typical.typical_quantity is null,
        case
            when $outlier_factor::DOUBLE > 0
                and sold.quantity > $outlier_factor::DOUBLE * typical.typical_quantity
                then $outlier_factor::DOUBLE * typical.typical_quantity
        end
    ))::VARCHAR as inputs
from tiles.largest_quantities as sold
left join ({query typical_quantities}) as typical on typical.item_id = sold.item_id
left join (
    select item_id, category, {is_excluded} as is_excluded from raw.items
) as items on items.item_id = sold.item_id
where
    sold.date > $date::DATE - $history_days::INTEGER
    and (
        (sold.span = 'month' and sold.date <= date_trunc('month', $date::DATE + 1)::DATE - 1)
        or (
            sold.span = 'day'
            and sold.date > date_trunc('month', $date::DATE + 1)::DATE - 1
            and sold.date <= $date::DATE
        )
    )
group by all
