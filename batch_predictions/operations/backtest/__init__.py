"""Backtests: past weeks of a home, each run as if it were the newest."""
