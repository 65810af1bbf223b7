"""Every table, declared once: columns, types, descriptions, key and partition column.

The warehouse enforces a declaration on every write, builds the analysts' views from it, and the
UI shows it as the asset's column schema. Columns may be added; none is renamed or removed.
"""

from batch_predictions.tables.audiences import (
    CHURN_FEATURES,
    CHURN_SCORES,
    PROMOTION_AUDIENCE,
    RETENTION_AUDIENCE,
)
from batch_predictions.tables.declaration import (
    TABLES,
    Column,
    PartitionColumn,
    Table,
    columns,
    declare,
    week_of,
)
from batch_predictions.tables.evaluation import MODEL_METRICS, PROMOTIONS_LOG, REALIZED_METRICS
from batch_predictions.tables.features import (
    DEMAND,
    ITEM_ACTIVITY,
    ITEM_SCORES,
    ITEM_STATE,
    USER_ACTIVITY,
    USER_SEGMENTS,
)
from batch_predictions.tables.predictions import (
    ASPECTS,
    DEMAND_FORECASTS,
    DEMOGRAPHIC_RECOMMENDATIONS,
    EXCLUSIONS,
    ITEM_SENTIMENTS,
    LEAD_TIME_DEMAND,
    RECOMMENDATIONS,
    REPLENISHMENT_ORDERS,
    REVIEW_SENTIMENTS,
    SEGMENT_LEVELS,
    TRAITS,
)
from batch_predictions.tables.raw import (
    CAMPAIGN_EVENTS,
    INTERACTIONS,
    INVENTORY,
    ITEMS,
    PROMOTION_CALENDAR,
    PROMOTIONS,
    QUARANTINE,
    REVIEWS,
    USERS,
)
from batch_predictions.tables.tiles import (
    ITEM_TOTALS,
    USER_ITEMS,
    USER_LOCATIONS,
    USER_TOTALS,
    USER_VISITS,
)

__all__ = [
    "ASPECTS",
    "CAMPAIGN_EVENTS",
    "CHURN_FEATURES",
    "CHURN_SCORES",
    "DEMAND",
    "DEMAND_FORECASTS",
    "DEMOGRAPHIC_RECOMMENDATIONS",
    "EXCLUSIONS",
    "INTERACTIONS",
    "INVENTORY",
    "ITEMS",
    "ITEM_ACTIVITY",
    "ITEM_SCORES",
    "ITEM_SENTIMENTS",
    "ITEM_STATE",
    "ITEM_TOTALS",
    "LEAD_TIME_DEMAND",
    "MODEL_METRICS",
    "PROMOTIONS",
    "PROMOTIONS_LOG",
    "PROMOTION_AUDIENCE",
    "PROMOTION_CALENDAR",
    "QUARANTINE",
    "REALIZED_METRICS",
    "RECOMMENDATIONS",
    "REPLENISHMENT_ORDERS",
    "RETENTION_AUDIENCE",
    "REVIEWS",
    "REVIEW_SENTIMENTS",
    "SEGMENT_LEVELS",
    "TABLES",
    "TRAITS",
    "USERS",
    "USER_ACTIVITY",
    "USER_ITEMS",
    "USER_LOCATIONS",
    "USER_SEGMENTS",
    "USER_TOTALS",
    "USER_VISITS",
    "Column",
    "PartitionColumn",
    "Table",
    "columns",
    "declare",
    "week_of",
]
