"""Shared by several models: ranking metrics, intervals of statistics, the gate."""
