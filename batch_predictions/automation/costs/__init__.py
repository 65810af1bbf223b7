"""What steps cost: `recorder` measures, `collect` writes `evaluation.costs`, `report` sums."""
