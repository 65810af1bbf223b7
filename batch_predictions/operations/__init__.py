"""The work of an operator: status, doctor, alerts, costs, retention, erasure, backup.

Nothing here knows Dagster: its records are read and deleted through `records`.
"""
