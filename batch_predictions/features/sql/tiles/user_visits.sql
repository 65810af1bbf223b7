-- Days with a purchase of churn.event_types of every customer, of the last $churn_history_days days, from
-- those at the end of $base and the days after it.
with earlier as (
    select user_id, visit_days from tiles.user_visits where date = $base::DATE
),
later as (
    select user_id, list_sort(list(distinct date)) as visit_days
    from raw.interactions
    where
        date > $base::DATE
        and date <= $date::DATE
        and date > $date::DATE - $churn_history_days::INTEGER
        and {is_purchase churn_event_types}
    group by user_id
),
merged as (
    select
        coalesce(earlier.user_id, later.user_id) as user_id,
        list_concat(earlier.visit_days, later.visit_days) as visit_days
    from earlier
    full join later on later.user_id = earlier.user_id
)
select
    $date::DATE as date,
    user_id,
    case
        when visit_days[1] > $date::DATE - $churn_history_days::INTEGER then visit_days
        else list_filter(
            visit_days, lambda day: day > $date::DATE - $churn_history_days::INTEGER
        )
    end as visit_days
from merged
where visit_days[-1] > $date::DATE - $churn_history_days::INTEGER
