-- Items promoted on any of the seven days after $date, by location (`all`: everywhere): whether on
-- display, whether in the mailer. That looks ahead and is legitimate: a calendar of promotions is
-- made before its weeks begin, so at the end of $date the coming days' are known. Those days lie in
-- one week or two, and the filter on `week` is constant, so that no other partition is read.
select
    item_id,
    location,
    bool_or(display is not null) as display,
    bool_or(mailer is not null) as mailer
from raw.promotion_calendar
where
    week in (
        date_trunc('week', $date::DATE + 1)::DATE,
        date_trunc('week', $date::DATE + 7)::DATE
    )
    and starts_on <= $date::DATE + 7
    and ends_on >= $date::DATE + 1
group by item_id, location
order by item_id, location
