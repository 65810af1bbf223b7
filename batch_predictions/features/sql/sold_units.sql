-- Units that were sold of every demand series on each of the days after $after, through $date. Days without
-- a sale have no row.
select day, item_id, location, units
from {spans daily_sales after $after::DATE}
