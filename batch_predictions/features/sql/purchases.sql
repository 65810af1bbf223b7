-- Purchases and, unless source.returns is `exclude`, returns, with `is_return`. A return is an
-- interaction of the type return, or a purchase with a negative quantity; it is subtracted from units
-- and amounts, and is not a visit.
select *
from (
    select
        *,
        coalesce(quantity < 0, false) or not list_contains($purchase_types::VARCHAR[], event_type)
            as is_return
    from raw.interactions
    where
        list_contains($purchase_types::VARCHAR[], event_type)
        or list_contains($return_types::VARCHAR[], event_type)
)
where not is_return or len($return_types::VARCHAR[]) > 0
