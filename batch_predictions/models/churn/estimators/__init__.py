"""Churn estimators, one module each; the registry finds what they declare."""
