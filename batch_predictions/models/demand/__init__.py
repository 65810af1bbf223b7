"""Demand forecasting: panels of series, forecasters, backtests, conformal quantiles, selection."""
