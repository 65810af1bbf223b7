-- The rows of `user_item_days.sql`, read from the tile of users and items.
select
    events.user_id,
    events.item_id,
    events.day as date,
    events.events,
    events.targets,
    events.is_seen,
    events.event_time,
    events.rating
from {spans user_items last $history_days::INTEGER} as events
join ({item_state}) as items on items.item_id = events.item_id and items.is_excluded is not true
where events.events is not null
