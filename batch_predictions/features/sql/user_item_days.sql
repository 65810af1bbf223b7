-- One row per user, item and day of the $history_days days up to $date: training rows of recommenders,
-- and the histories that they score, so that training and serving read the same rows. Items that are
-- never recommended (source.exclude_items) are left out. Unavailable items are kept: they show what
-- users like, and may become available again.
-- The placeholder stands for the partition of features.item_state, or the query that computes it.
select
    events.user_id,
    events.item_id,
    events.date,
    count(*)::DOUBLE as events,
    coalesce(epoch_ms(min(events.occurred_at)), 0) as event_time,
    favg(events.amount::DOUBLE) filter (events.event_type = 'rating') as rating
from raw.interactions as events
join ({item_state}) as items on items.item_id = events.item_id and items.is_excluded is not true
where events.date <= $date::DATE and events.date > $date::DATE - $history_days::INTEGER
group by all
