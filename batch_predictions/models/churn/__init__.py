"""Churn: the probability that an active customer buys nothing in the coming days."""
