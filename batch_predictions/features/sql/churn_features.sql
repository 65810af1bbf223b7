-- What is known of every customer who bought in the last 84 days (churn.active_days): recency,
-- frequency, the customer's interpurchase times, spend, breadth, discounts, demographics. A purchase is an
-- interaction of churn.event_types; a visit is a day with one. Returns are subtracted from the spend.
with lines as (
    select
        user_id,
        item_id,
        date,
        quantity,
        amount,
        {is_purchase churn_event_types} as is_purchase
    from raw.interactions
    where
        date <= $date::DATE
        and date > $date::DATE - least(84, $churn_history_days::INTEGER)
        and {is_counted churn_event_types}
),
events as (
    select user_id, item_id, date, quantity, amount from lines where is_purchase
),
days as (
    select user_id, date, coalesce(fsum(amount), 0) as spend, bool_or(is_purchase) as is_visit
    from lines
    group by user_id, date
),
spends as (
    select
        user_id,
        fsum(spend) filter (date > $date::DATE - 28) as spend_28d,
        fsum(spend) filter (date > $date::DATE - 56) as spend_56d,
        fsum(spend) as spend_84d
    from days
    group by user_id
),
customers as (
    select
        user_id,
        visit_days,
        $date::DATE - visit_days[-1] as days_inactive,
        list_transform(visit_days[2:], lambda day, place: day - visit_days[place]) as gaps
    from {running user_visits}
    where days_inactive < $churn_active_days::INTEGER
),
recent_visits as (
    select
        user_id,
        count(*) filter (date > $date::DATE - 7) as visits_7d,
        count(*) filter (date > $date::DATE - 28) as visits_28d,
        count(*) filter (date > $date::DATE - 56) as visits_56d,
        count(*) as visits_84d,
        count(distinct ($date::DATE - date) // 7) as weeks_84d
    from days
    where is_visit
    group by user_id
),
rhythms as (
    select
        customers.user_id,
        customers.days_inactive,
        $date::DATE - visit_days[1] as tenure_days,
        len(visit_days) as visits,
        coalesce(visits_7d, 0) as visits_7d,
        coalesce(visits_28d, 0) as visits_28d,
        coalesce(visits_56d, 0) as visits_56d,
        coalesce(visits_84d, 0) as visits_84d,
        coalesce(weeks_84d, 0) as weeks_84d,
        len(gaps) as gaps,
        list_median(gaps) as gap_median,
        list_avg(gaps) as gap_mean,
        -- Whole numbers: the sums are exact in any order.
        case when len(gaps) > 1 then sqrt(greatest(0,
            list_inner_product(gaps::DOUBLE[], gaps::DOUBLE[])
            - list_sum(gaps)::DOUBLE * list_sum(gaps) / len(gaps)) / (len(gaps) - 1)) end
            as gap_sd,
        list_max(gaps) as gap_max,
        list_avg(gaps[-3:]) as gap_recent,
        len(list_filter(gaps, lambda gap: gap > customers.days_inactive)) as longer_gaps
    from customers
    left join recent_visits on recent_visits.user_id = customers.user_id
),
prices as (
    select item_id, usual from ({query usual_prices})
),
baskets as (
    select
        events.user_id,
        count(*) filter (events.date > $date::DATE - 28) as events_28d,
        count(*) as events_84d,
        count(distinct events.item_id) as items_84d,
        count(distinct items.category) as categories_84d,
        count(*) filter (events.amount / events.quantity <= 0.9 * prices.usual)
            / nullif(count(*) filter (
                prices.usual is not null and events.quantity > 0 and events.amount > 0
            ), 0) as discount_share
    from events
    left join raw.items as items on items.item_id = events.item_id
    left join prices on prices.item_id = events.item_id
        and events.quantity > 0 and events.amount > 0
    where events.date > $date::DATE - 84
    group by events.user_id
),
coupons as (
    select user_id, count(*) as redemptions
    from raw.campaign_events
    where
        event_type = 'redeemed'
        and date <= $date::DATE
        and date > $date::DATE - $churn_history_days::INTEGER
    group by user_id
)
select
    $date::DATE as date,
    rhythms.user_id,
    rhythms.days_inactive,
    rhythms.tenure_days,
    rhythms.visits,
    rhythms.visits_7d,
    rhythms.visits_28d,
    rhythms.visits_56d,
    rhythms.visits_84d,
    rhythms.weeks_84d,
    rhythms.gap_median,
    rhythms.gap_mean,
    rhythms.gap_sd,
    rhythms.gap_max::BIGINT as gap_max,
    rhythms.gap_recent,
    -- More than 1: the time since the last purchase exceeds the customer's usual interpurchase time.
    rhythms.days_inactive / rhythms.gap_mean as overdue,
    (rhythms.longer_gaps + 1) / (rhythms.gaps + 2) as longer_gap_share,
    coalesce(spends.spend_28d, 0) as spend_28d,
    coalesce(spends.spend_56d, 0) as spend_56d,
    coalesce(spends.spend_84d, 0) as spend_84d,
    ln((1 + greatest(0, coalesce(spends.spend_28d, 0)))
        / (1 + greatest(0, coalesce(spends.spend_84d, 0)) / 3)) as spend_trend,
    ln((1 + rhythms.visits_28d) / (1 + rhythms.visits_84d / 3)) as visit_trend,
    coalesce(baskets.events_28d, 0) as events_28d,
    coalesce(baskets.events_84d, 0) as events_84d,
    coalesce(baskets.items_84d, 0) as items_84d,
    coalesce(baskets.categories_84d, 0) as categories_84d,
    baskets.discount_share,
    coalesce(coupons.redemptions, 0) as redemptions,
    coalesce(users.age_bracket, 'unknown') as age_bracket,
    coalesce(users.gender, 'unknown') as gender
from rhythms
left join spends on spends.user_id = rhythms.user_id
left join baskets on baskets.user_id = rhythms.user_id
left join coupons on coupons.user_id = rhythms.user_id
left join raw.users as users
    on users.user_id = rhythms.user_id
    and (users.signed_up_on is null or users.signed_up_on <= $date::DATE)
