"""Models of predictive queries: examples of past days, estimators by task, selection."""
