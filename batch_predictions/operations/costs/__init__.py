"""Costs of steps: `collect` writes `evaluation.costs`, `cost_report` sums them."""
