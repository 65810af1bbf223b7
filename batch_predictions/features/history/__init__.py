"""Features of entities for predictive queries: aggregates of their events over past windows."""
