-- One row per user, item and day of the $history_days days up to $date: what recommenders learn from
-- and what their histories are made of, so that training and scoring see the same rows. Items that are
-- never recommended (source.exclude_items) are left out. Items that are unavailable stay: they say
-- what users like, and may become available again.
-- The placeholder is the partition of features.item_state, or the query that makes it.
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
