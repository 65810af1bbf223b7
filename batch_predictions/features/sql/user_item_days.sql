-- One row per user, item and day of the $history_days days up to $date: training rows of recommenders,
-- and the histories that they score, so that training and serving read the same rows. An event counts
-- with the weight of its type; types without a weight, and returns, are not read. Items that are
-- never recommended (source.exclude_items) are left out. Unavailable items are kept: they show what
-- users like, and may become available again.
-- The placeholder stands for the partition of features.item_state, or the query that computes it.
select
    events.user_id,
    events.item_id,
    events.date,
    fsum(types.weight) as events,
    count(*) filter (list_contains($target_types::VARCHAR[], events.event_type))::DOUBLE as targets,
    bool_or(list_contains($seen_types::VARCHAR[], events.event_type)) as is_seen,
    coalesce(epoch_ms(min(events.occurred_at)), 0) as event_time,
    favg(events.amount::DOUBLE) filter (events.event_type = 'rating') as rating
from raw.interactions as events
join (
    select unnest($weighted_types::VARCHAR[]) as event_type,
        unnest($type_weights::DOUBLE[]) as weight
) as types on types.event_type = events.event_type
join ({item_state}) as items on items.item_id = events.item_id and items.is_excluded is not true
where
    events.date <= $date::DATE
    and events.date > $date::DATE - $history_days::INTEGER
    and (events.quantity is null or events.quantity >= 0)
group by all
