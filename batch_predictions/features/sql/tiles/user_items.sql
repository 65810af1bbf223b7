-- Users' interactions with items on the days from $first to $last, one row per user, item and day. The
-- columns from events on are those of `user_item_days.sql`: recommenders read types with a weight, without
-- returns.
select
    events.date as day,
    events.user_id,
    events.item_id,
    count(*) as interactions,
    coalesce(bool_or(list_contains($target_types::VARCHAR[], events.event_type)), false) as is_target,
    fsum(types.weight) filter (is_read) as events,
    count(*) filter (is_read and list_contains($target_types::VARCHAR[], events.event_type))::DOUBLE
        as targets,
    bool_or(list_contains($seen_types::VARCHAR[], events.event_type)) filter (is_read) as is_seen,
    coalesce(epoch_ms(min(events.occurred_at) filter (is_read)), 0) as event_time,
    favg(events.amount::DOUBLE) filter (is_read and events.event_type = 'rating') as rating
from (
    select *, quantity is null or quantity >= 0 as is_no_return
    from raw.interactions
    where date >= $first::DATE and date <= $last::DATE
) as events
left join (
    select unnest($weighted_types::VARCHAR[]) as event_type,
        unnest($type_weights::DOUBLE[]) as weight
) as types on types.event_type = events.event_type,
    lateral (select events.is_no_return and types.weight is not null as is_read)
group by events.date, events.user_id, events.item_id
