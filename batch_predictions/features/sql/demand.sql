-- Daily units of every series of demand, as known at the end of $date: of goods alone, outlying
-- lines capped, zeros from the first sale on. Promotions reach $horizon days beyond: a calendar of
-- promotions is made before its weeks begin. What a week that was never read holds is null.
with lines as (
    select
        events.date,
        events.item_id,
        coalesce(nullif(events.location, ''), 'unknown') as location,
        coalesce(items.category, 'unknown') as category,
        -- A row without a quantity is one unit.
        coalesce(events.quantity, 1) as quantity,
        events.amount
    from raw.interactions as events
    left join raw.items as items on items.item_id = events.item_id
    where
        events.date <= $date::DATE
        and events.date > $date::DATE - $history_days::INTEGER
        and list_contains($event_types::VARCHAR[], events.event_type)
        and not coalesce(list_contains($exclude_category::VARCHAR[], items.category), false)
        and not coalesce(list_contains($exclude_subcategory::VARCHAR[], items.subcategory), false)
        and not coalesce(list_contains($exclude_brand::VARCHAR[], items.brand), false)
),
usual as (
    select item_id, median(quantity) as quantity from lines where quantity > 0 group by item_id
),
capped as (
    select
        lines.* exclude (quantity),
        case
            when $outlier_factor::DOUBLE > 0
                then least(lines.quantity, $outlier_factor::DOUBLE * usual.quantity)
            else lines.quantity
        end as quantity,
        case when lines.quantity > 0 and lines.amount > 0 then lines.quantity end as priced
    from lines
    join usual on usual.item_id = lines.item_id
),
sold as (
    select
        level,
        case level when 'category' then 'category:' || category else item_id end as item_id,
        case level when 'item_location' then location else 'all' end as location,
        case level when 'category' then 'category:' || category else category end as category,
        date,
        -- Returns lower a day's units, and no day sells less than nothing.
        greatest(fsum(quantity), 0) as units,
        fsum(amount) filter (priced is not null) / fsum(priced) as price
    from capped, (select unnest($levels::VARCHAR[]) as level)
    group by all
),
ranked as (
    select
        level,
        item_id,
        location,
        any_value(category) as category,
        min(date) filter (units > 0) as first_date,
        max(date) filter (units > 0) as last_date,
        coalesce(fsum(units) filter (date > $date::DATE - 84), 0) as units_84d
    from sold
    group by level, item_id, location
    having units_84d > 0
    qualify row_number() over (
        partition by level order by units_84d desc, item_id, location
    ) <= $max_series::INTEGER
),
days as (
    select
        unnest(generate_series(
            $date::DATE - $history_days::INTEGER + 1, $date::DATE + $horizon::INTEGER, interval 1 day
        ))::DATE as day
),
-- What a shop weighs in an item's promotion: its share of the item's units.
shops as (
    select item_id, location, fsum(greatest(quantity, 0))
        / nullif(sum(fsum(greatest(quantity, 0))) over (partition by item_id), 0) as share
    from capped group by item_id, location
),
-- What an item weighs in its category.
members as (
    select item_id, 'category:' || category as category,
        fsum(greatest(quantity, 0))
            / nullif(sum(fsum(greatest(quantity, 0))) over (partition by category), 0) as share
    from capped
    where list_contains($levels::VARCHAR[], 'category')
    group by item_id, category
),
in_force as (
    select
        calendar.week,
        calendar.item_id,
        case when split.apart then calendar.location end as location,
        greatest(calendar.starts_on, calendar.week) as starts_on,
        least(calendar.ends_on, calendar.week + 6) as ends_on,
        case when calendar.location = 'all' or split.apart then 1 else shops.share end as share,
        calendar.display is not null as display,
        calendar.mailer is not null as mailer
    from raw.promotion_calendar as calendar
    join (
        select distinct unnest([
            false, list_contains($levels::VARCHAR[], 'item_location')
        ]) as apart
    ) as split on true
    left join shops
        on shops.item_id = calendar.item_id and shops.location = calendar.location
    where
        calendar.week >= date_trunc('week', $date::DATE - $history_days::INTEGER + 1)::DATE
        and calendar.week <= date_trunc('week', $date::DATE + $horizon::INTEGER)::DATE
        and calendar.item_id in (
            select item_id from ranked union all select item_id from members
        )
),
shares as (
    select
        item_id, location, starts_on, ends_on,
        fsum(share) as promotion,
        coalesce(fsum(share) filter (display), 0) as display,
        coalesce(fsum(share) filter (mailer), 0) as mailer
    from in_force
    where share is not null
    group by all
),
promoted as (
    select ranked.item_id, ranked.location, starts_on, ends_on, promotion, display, mailer
    from shares
    join ranked on ranked.item_id = shares.item_id and (
        (ranked.level = 'item' and shares.location is null)
        or (ranked.level = 'item_location' and shares.location in ('all', ranked.location))
    )
    union all
    select
        members.category, 'all', starts_on, ends_on, members.share * promotion,
        members.share * display, members.share * mailer
    from shares
    join members on members.item_id = shares.item_id
    where shares.location is null
),
promoted_days as (
    select
        item_id, location, day,
        least(fsum(promotion), 1) as promotion,
        least(fsum(display), 1) as display,
        least(fsum(mailer), 1) as mailer
    from (
        select *, unnest(generate_series(starts_on, ends_on, interval 1 day))::DATE as day
        from promoted
    )
    group by all
),
filled as (
    select
        ranked.item_id, ranked.location, days.day,
        case when days.day <= $date::DATE then coalesce(sold.units, 0) end as units,
        last_value(sold.price ignore nulls) over (
            partition by ranked.item_id, ranked.location order by days.day
        ) as price,
        case when known.week is not null then coalesce(promoted_days.promotion, 0) end as promotion,
        case when known.week is not null then coalesce(promoted_days.display, 0) end as display,
        case when known.week is not null then coalesce(promoted_days.mailer, 0) end as mailer
    from ranked
    join days on days.day >= ranked.first_date
    left join sold
        on sold.item_id = ranked.item_id and sold.location = ranked.location
        and sold.date = days.day and sold.level = ranked.level
    left join (select unnest($known_weeks::DATE[]) as week) as known
        on known.week = date_trunc('week', days.day)::DATE
    left join promoted_days
        on promoted_days.item_id = ranked.item_id and promoted_days.location = ranked.location
        and promoted_days.day = days.day
),
listed as (
    select
        item_id, location,
        list(units order by day) filter (units is not null) as units,
        list(price order by day) filter (units is not null) as prices,
        list(promotion order by day) as promotion,
        list(display order by day) as display,
        list(mailer order by day) as mailer
    from filled
    group by item_id, location
)
select
    $date::DATE as date,
    ranked.item_id,
    ranked.location,
    ranked.level,
    ranked.category,
    ranked.first_date,
    ranked.last_date,
    ranked.units_84d,
    listed.units,
    listed.prices,
    listed.promotion,
    listed.display,
    listed.mailer,
    try_cast(items.attributes['lead_time_days'] as DOUBLE) as lead_time_days,
    try_cast(items.attributes['review_days'] as DOUBLE) as review_days,
    try_cast(items.attributes['service_level'] as DOUBLE) as service_level,
    try_cast(items.attributes['pack_size'] as DOUBLE) as pack_size,
    try_cast(items.attributes['min_order'] as DOUBLE) as min_order,
    try_cast(items.attributes['holding_cost'] as DOUBLE) as holding_cost,
    try_cast(items.attributes['lost_sale_cost'] as DOUBLE) as lost_sale_cost
from ranked
join listed on listed.item_id = ranked.item_id and listed.location = ranked.location
left join raw.items as items on items.item_id = ranked.item_id
