-- Daily units of every demand series, as known at the end of $date. Excluded items are left out, the
-- quantity of a line is capped, and days without a sale are 0 from the first sale on. Promotions
-- reach $horizon days beyond $date, since the promotion calendar is known in advance; they are null
-- in weeks of the calendar that were not ingested.
with daily_sales as (
    select * from {spans daily_sales last $history_days::INTEGER}
),
-- The series with the most units in the last 84 days.
recent_sales as (
    select
        level,
        item_id,
        location,
        any_value(category) as category,
        coalesce(fsum(units), 0) as units_84d
    from {spans daily_sales last least(84, $history_days::INTEGER)}
    group by level, item_id, location
    having units_84d > 0
    qualify row_number() over (
        partition by level order by units_84d desc, item_id, location
    ) <= $max_series::INTEGER
),
sales as (
    select daily_sales.*
    from daily_sales
    join recent_sales
        on recent_sales.level = daily_sales.level
        and recent_sales.item_id = daily_sales.item_id
        and recent_sales.location = daily_sales.location
),
series as (
    select
        recent_sales.*,
        dates.first_date,
        dates.last_date
    from recent_sales
    join (
        select
            level,
            item_id,
            location,
            min(day) filter (units > 0) as first_date,
            max(day) filter (units > 0) as last_date
        from sales
        group by level, item_id, location
    ) as dates
        on dates.level = recent_sales.level
        and dates.item_id = recent_sales.item_id
        and dates.location = recent_sales.location
),
-- Lines of the whole history, which only the shares of promotions need.
capped_lines as (
    select
        events.item_id,
        coalesce(nullif(events.location, ''), 'unknown') as location,
        coalesce(items.category, 'unknown') as category,
        case
            when $outlier_factor::DOUBLE > 0 then least(
                coalesce(events.quantity, 1), $outlier_factor::DOUBLE * typical.typical_quantity
            )
            else coalesce(events.quantity, 1)
        end as quantity
    from raw.interactions as events
    join ({query typical_quantities}) as typical on typical.item_id = events.item_id
    left join (
        select item_id, category, {is_excluded} as is_excluded from raw.items
    ) as items on items.item_id = events.item_id
    where
        len($known_weeks::DATE[]) > 0
        and events.date <= $date::DATE
        and events.date > $date::DATE - $history_days::INTEGER
        and {is_counted event_types}
        and items.is_excluded is not true
),
days as (
    select
        unnest(generate_series(
            $date::DATE - $history_days::INTEGER + 1, $date::DATE + $horizon::INTEGER, interval 1 day
        ))::DATE as day
),
-- Weight of a location's promotion for an item: its share of the item's units.
location_shares as (
    select item_id, location, fsum(greatest(quantity, 0))
        / nullif(sum(fsum(greatest(quantity, 0))) over (partition by item_id), 0) as share
    from capped_lines group by item_id, location
),
-- Weight of an item's promotion for its category.
category_items as (
    select item_id, 'category:' || category as category,
        fsum(greatest(quantity, 0))
            / nullif(sum(fsum(greatest(quantity, 0))) over (partition by category), 0) as share
    from capped_lines
    where list_contains($levels::VARCHAR[], 'category')
    group by item_id, category
),
-- Each promotion counts for the item over all locations and, where there are series of locations,
-- once more for its own location.
active_promotions as (
    select
        calendar.week,
        calendar.item_id,
        case when grain.by_location then calendar.location end as location,
        greatest(calendar.starts_on, calendar.week) as starts_on,
        least(calendar.ends_on, calendar.week + 6) as ends_on,
        case
            when calendar.location = 'all' or grain.by_location then 1 else location_shares.share
        end as share,
        calendar.display is not null as display,
        calendar.mailer is not null as mailer
    from raw.promotion_calendar as calendar
    join (
        select distinct unnest([
            false, list_contains($levels::VARCHAR[], 'item_location')
        ]) as by_location
    ) as grain on true
    left join location_shares
        on location_shares.item_id = calendar.item_id
        and location_shares.location = calendar.location
    where
        calendar.week >= date_trunc('week', $date::DATE - $history_days::INTEGER + 1)::DATE
        and calendar.week <= date_trunc('week', $date::DATE + $horizon::INTEGER)::DATE
        and calendar.item_id in (
            select item_id from series union all select item_id from category_items
        )
),
promotion_shares as (
    select
        item_id, location, starts_on, ends_on,
        fsum(share) as promotion,
        coalesce(fsum(share) filter (display), 0) as display,
        coalesce(fsum(share) filter (mailer), 0) as mailer
    from active_promotions
    where share is not null
    group by all
),
series_promotions as (
    select series.item_id, series.location, starts_on, ends_on, promotion, display, mailer
    from promotion_shares
    join series on series.item_id = promotion_shares.item_id and (
        (series.level = 'item' and promotion_shares.location is null)
        or (
            series.level = 'item_location'
            and promotion_shares.location in ('all', series.location)
        )
    )
    union all
    select
        category_items.category, 'all', starts_on, ends_on, category_items.share * promotion,
        category_items.share * display, category_items.share * mailer
    from promotion_shares
    join category_items on category_items.item_id = promotion_shares.item_id
    where promotion_shares.location is null
),
promoted_days as (
    select
        item_id, location, day,
        least(fsum(promotion), 1) as promotion,
        least(fsum(display), 1) as display,
        least(fsum(mailer), 1) as mailer
    from (
        select *, unnest(generate_series(starts_on, ends_on, interval 1 day))::DATE as day
        from series_promotions
    )
    group by all
),
-- The sales of each series, in order. A series begins with a sale.
series_sales as (
    select
        series.item_id,
        series.location,
        series.first_date,
        list({'day': sales.day, 'units': sales.units} order by sales.day) as sold,
        coalesce(
            list({'day': sales.day, 'price': sales.price} order by sales.day)
                filter (sales.price is not null),
            []
        ) as priced
    from series
    join sales
        on sales.item_id = series.item_id and sales.location = series.location
        and sales.level = series.level and sales.day >= series.first_date
    group by series.item_id, series.location, series.first_date
),
-- Each sale as a list of the days until the next one.
sale_lists as (
    select
        item_id,
        location,
        flatten(list_transform(sold, lambda sale, place: list_resize(
            [sale.units], coalesce(sold[place + 1].day, $date::DATE + 1) - sale.day, 0.0
        ))) as units,
        list_concat(
            list_resize([]::DOUBLE[], coalesce(priced[1].day, $date::DATE + 1) - first_date),
            flatten(list_transform(priced, lambda sale, place: list_resize(
                [sale.price], coalesce(priced[place + 1].day, $date::DATE + 1) - sale.day, sale.price
            )))
        ) as prices
    from series_sales
),
promotion_lists as (
    select
        series.item_id,
        series.location,
        list(case when known.week is not null then coalesce(promotion, 0) end order by days.day)
            as promotion,
        list(case when known.week is not null then coalesce(display, 0) end order by days.day)
            as display,
        list(case when known.week is not null then coalesce(mailer, 0) end order by days.day)
            as mailer
    from series
    join days on days.day >= series.first_date
    left join (select unnest($known_weeks::DATE[]) as week) as known
        on known.week = date_trunc('week', days.day)::DATE
    left join promoted_days
        on promoted_days.item_id = series.item_id and promoted_days.location = series.location
        and promoted_days.day = days.day
    where len($known_weeks::DATE[]) > 0
    group by series.item_id, series.location
),
series_lists as (
    select
        series.*,
        sale_lists.units,
        sale_lists.prices,
        -- Without a calendar, null on each day.
        list_resize([]::DOUBLE[], $date::DATE + $horizon::INTEGER + 1 - series.first_date) as unknown,
        coalesce(promotion_lists.promotion, unknown) as promotion,
        coalesce(promotion_lists.display, unknown) as display,
        coalesce(promotion_lists.mailer, unknown) as mailer
    from series
    join sale_lists
        on sale_lists.item_id = series.item_id and sale_lists.location = series.location
    left join promotion_lists
        on promotion_lists.item_id = series.item_id
        and promotion_lists.location = series.location
)
select
    $date::DATE as date,
    series.item_id,
    series.location,
    series.level,
    series.category,
    series.first_date,
    series.last_date,
    series.units_84d,
    series.units,
    series.prices,
    series.promotion,
    series.display,
    series.mailer,
    try_cast(items.attributes['lead_time_days'] as DOUBLE) as lead_time_days,
    try_cast(items.attributes['review_days'] as DOUBLE) as review_days,
    try_cast(items.attributes['service_level'] as DOUBLE) as service_level,
    try_cast(items.attributes['pack_size'] as DOUBLE) as pack_size,
    try_cast(items.attributes['min_order'] as DOUBLE) as min_order,
    try_cast(items.attributes['holding_cost'] as DOUBLE) as holding_cost,
    try_cast(items.attributes['lost_sale_cost'] as DOUBLE) as lost_sale_cost
from series_lists as series
left join raw.items as items on items.item_id = series.item_id
