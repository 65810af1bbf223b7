-- The demographic segment of every user who had signed up or interacted by the day. Missing values are
-- the segment 'unknown', so that no user is lost.
with places as (
    select user_id, location, events
    from {running user_locations}
    where $location_from_interactions::BOOLEAN
),
usual as (
    select user_id, location
    from places
    qualify row_number() over (partition by user_id order by events desc, location) = 1
),
known as (
    select user_id, age_bracket, gender, location
    from raw.users
    where signed_up_on is null or signed_up_on <= $date::DATE
),
everyone as (
    select user_id from known
    union
    select user_id from {running user_totals}
)
select
    $date::DATE as date,
    everyone.user_id,
    coalesce(known.age_bracket, 'unknown') as age_bracket,
    coalesce(known.gender, 'unknown') as gender,
    coalesce(known.location, usual.location, 'unknown') as location
from everyone
left join known on known.user_id = everyone.user_id
left join usual on usual.user_id = everyone.user_id
