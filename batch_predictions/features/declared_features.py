"""The platform's own feature tables."""

from __future__ import annotations

from batch_predictions.features import feature_plots
from batch_predictions.features.base import FeatureTable
from batch_predictions.features.sql import demand_sql
from batch_predictions.tables import (
    CHURN_FEATURES,
    DEMAND,
    ITEM_ACTIVITY,
    ITEM_STATE,
    USER_ACTIVITY,
    USER_SEGMENTS,
)

user_activity = FeatureTable(USER_ACTIVITY, plot=feature_plots.PLOTS[USER_ACTIVITY.name])
item_activity = FeatureTable(ITEM_ACTIVITY, plot=feature_plots.PLOTS[ITEM_ACTIVITY.name])
user_segments = FeatureTable(USER_SEGMENTS, plot=feature_plots.PLOTS[USER_SEGMENTS.name])
item_state = FeatureTable(ITEM_STATE, plot=feature_plots.PLOTS[ITEM_STATE.name])
churn_features = FeatureTable(CHURN_FEATURES, plot=feature_plots.PLOTS[CHURN_FEATURES.name])
demand_series = FeatureTable(
    DEMAND, parameters=demand_sql.parameters, plot=feature_plots.PLOTS[DEMAND.name]
)
