-- By how much the share of shops that promote an item on display, in a mailer, or either (`promoted`)
-- changes from the four weeks before to the seven days after $date. Recent purchases were made under
-- recent promotions, so it is the change that matters. Reading ahead is correct here, see
-- promoted_items.sql. An item without a row keeps its promotions; no rows at all: the coming week, or
-- the weeks before it, are unknown.
with spans as (
    select distinct
        days_back,
        date_trunc('week', $date::DATE - days_back + 1 + edge)::DATE as week
    from (select unnest([0, 7, 14, 21, 28]) as days_back), (select unnest([0, 6]) as edge)
),
by_week as (
    select
        spans.days_back,
        calendar.item_id,
        count(*) filter (display is not null and location <> 'all') as display,
        count(*) filter (mailer is not null and location <> 'all') as mailer,
        count(*) filter (coalesce(display, mailer) is not null and location <> 'all') as promoted,
        coalesce(bool_or(display is not null and location = 'all'), false) as display_all,
        coalesce(bool_or(mailer is not null and location = 'all'), false) as mailer_all,
        coalesce(
            bool_or(coalesce(display, mailer) is not null and location = 'all'), false
        ) as promoted_all
    from raw.promotion_calendar as calendar
    join spans
        on spans.week = calendar.week
        and calendar.starts_on <= $date::DATE - spans.days_back + 7
        and calendar.ends_on >= $date::DATE - spans.days_back + 1
    where
        calendar.week >= date_trunc('week', $date::DATE - 27)::DATE
        and calendar.week <= date_trunc('week', $date::DATE + 7)::DATE
    group by spans.days_back, calendar.week, calendar.item_id
),
-- Seven days touch two weeks unless they begin on a Monday: the one with more shops counts.
planned as (
    select
        days_back,
        item_id,
        max(display) as display,
        max(mailer) as mailer,
        max(promoted) as promoted,
        max(display_all::INTEGER) as display_all,
        max(mailer_all::INTEGER) as mailer_all,
        max(promoted_all::INTEGER) as promoted_all
    from by_week
    group by days_back, item_id
),
shops as (
    select count(distinct location) filter (location <> 'all') as shops
    from raw.promotion_calendar
    where
        week >= date_trunc('week', $date::DATE - 27)::DATE
        and week <= date_trunc('week', $date::DATE + 7)::DATE
),
shares as (
    select
        days_back,
        item_id,
        greatest(display / greatest(shops, 1), display_all) as display,
        greatest(mailer / greatest(shops, 1), mailer_all) as mailer,
        greatest(promoted / greatest(shops, 1), promoted_all) as promoted
    from planned, shops
),
known as (
    select count(distinct days_back) filter (days_back > 0) as before from planned
    having before > 0 and bool_or(days_back = 0)
),
changes as (
    select
        item_id,
        coalesce(fsum(display) filter (days_back = 0), 0)
            - coalesce(fsum(display) filter (days_back > 0), 0) / any_value(before) as display,
        coalesce(fsum(mailer) filter (days_back = 0), 0)
            - coalesce(fsum(mailer) filter (days_back > 0), 0) / any_value(before) as mailer,
        coalesce(fsum(promoted) filter (days_back = 0), 0)
            - coalesce(fsum(promoted) filter (days_back > 0), 0) / any_value(before) as promoted
    from shares, known
    group by item_id
)
select item_id, display, mailer, promoted
from changes
where display <> 0 or mailer <> 0 or promoted <> 0
order by item_id
