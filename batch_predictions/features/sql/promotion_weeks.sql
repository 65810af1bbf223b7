-- The share of shops that promoted each item, on display or in a mailer, in each of the twelve weeks up
-- to $date (`weeks_back`: 1 is the seven days that end with it). An item without a row in a known week
-- was not promoted; a week without any row is unknown.
with spans as (
    select distinct
        weeks_back,
        date_trunc('week', $date::DATE - 7 * weeks_back + 1 + edge)::DATE as week
    from (select unnest(range(1, 13))::INTEGER as weeks_back), (select unnest([0, 6]) as edge)
),
by_week as (
    select
        spans.weeks_back,
        calendar.item_id,
        count(*) filter (location <> 'all') as promoted,
        coalesce(bool_or(location = 'all'), false) as promoted_all
    from raw.promotion_calendar as calendar
    join spans
        on spans.week = calendar.week
        and calendar.starts_on <= $date::DATE - 7 * spans.weeks_back + 7
        and calendar.ends_on >= $date::DATE - 7 * spans.weeks_back + 1
    where
        coalesce(calendar.display, calendar.mailer) is not null
        and calendar.week >= date_trunc('week', $date::DATE - 83)::DATE
        and calendar.week <= $date::DATE
    group by spans.weeks_back, calendar.week, calendar.item_id
),
shops as (
    select count(distinct location) filter (location <> 'all') as shops
    from raw.promotion_calendar
    where
        week >= date_trunc('week', $date::DATE - 83)::DATE
        and week <= $date::DATE
)
-- Seven days touch two weeks unless they begin on a Monday: the one with more shops counts.
select
    item_id,
    weeks_back,
    max(greatest(promoted / greatest(shops, 1), promoted_all::INTEGER))::DOUBLE as share
from by_week, shops
group by item_id, weeks_back
order by item_id, weeks_back
