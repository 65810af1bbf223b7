"""Shared by several models: ranking metrics, bootstrap intervals, proportions, the gate."""
