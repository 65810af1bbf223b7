"""Demand forecasts: one contract, baselines, batched SARIMA, global models; pure, no Dagster."""
