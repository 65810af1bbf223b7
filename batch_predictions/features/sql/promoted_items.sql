-- Items promoted after $date by location (`all`: everywhere), in each of the $planned_weeks spans of
-- seven days that follow it (`weeks_ahead`: 1 is the coming one): on display, in the mailer, and on the
-- next day (`tomorrow`), when a list of $date is looked up. Reading ahead is correct here: a promotion
-- calendar is made before its weeks begin, and `recommender.planned_weeks` says how long before. Seven
-- days are in one week or two; the filter on `week` is constant, so that no other partition is read.
with spans as (
    select
        weeks_ahead,
        $date::DATE + 7 * weeks_ahead - 6 as first_day,
        $date::DATE + 7 * weeks_ahead as last_day
    from (select unnest(range(1, $planned_weeks::INTEGER + 1))::INTEGER as weeks_ahead)
)
select
    spans.weeks_ahead,
    calendar.item_id,
    calendar.location,
    bool_or(calendar.display is not null) as display,
    bool_or(calendar.mailer is not null) as mailer,
    bool_or(
        coalesce(calendar.display, calendar.mailer) is not null
        and $date::DATE + 1 between calendar.starts_on and calendar.ends_on
    ) as tomorrow
from raw.promotion_calendar as calendar
join spans
    on calendar.week in (date_trunc('week', first_day)::DATE, date_trunc('week', last_day)::DATE)
    and calendar.starts_on <= last_day
    and calendar.ends_on >= first_day
where
    calendar.week >= date_trunc('week', $date::DATE + 1)::DATE
    and calendar.week <= date_trunc('week', $date::DATE + 7 * $planned_weeks::INTEGER)::DATE
group by spans.weeks_ahead, calendar.item_id, calendar.location
order by spans.weeks_ahead, calendar.item_id, calendar.location
