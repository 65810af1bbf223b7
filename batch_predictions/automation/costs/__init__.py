"""Costs of steps: `recorder` measures, `collect` writes `evaluation.costs`, `report` sums."""
