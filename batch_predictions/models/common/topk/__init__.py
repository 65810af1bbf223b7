"""Exact top-k by inner product, which never holds the scores of all users by all items.

`Index` prepares items for any number of searches. `exact` searches on the CPU over `item_blocks`,
`gpu` finds candidates on a GPU; `kernels`, `topk_candidates` and `vectors` are compiled.
`benchmarks/topk.py` compares it with `implicit` and with a bare matrix product.
"""

from __future__ import annotations

from batch_predictions.models.common.topk.item_blocks import Kind
from batch_predictions.models.common.topk.vector_index import Index

__all__ = ["Index", "Kind"]
