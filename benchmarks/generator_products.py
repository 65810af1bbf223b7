"""Would the exact top-k be worth its place in a generator of the two-stage recommender?

    python benchmarks/generator_products.py

ALS on the Complete Journey, 64 factors: for every user the best items that it has not seen, and the
scores of 400 other candidates, which the ranker reads. By plain products of all items, as the
generators do it, and by `Index.search` with products of the candidates alone; on one thread, CPU
seconds, medians of three interleaved repeats.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from common import log, machine, print_json, time_interleaved
from topk import learned_factors

ITEMS = (12_000, 68_509)
EACH = (60, 300)
USERS, OTHERS = 128, 400


def measure() -> dict[str, Any]:
    """Both ways, by items and by candidates."""
    import torch

    from batch_predictions.models.common.topk import Index
    from batch_predictions.models.recommender.data.dense_scores import TargetBlocks

    torch.set_num_threads(1)
    queries, targets, seen = learned_factors()
    order = np.argsort(-np.bincount(seen.indices, minlength=len(targets)), kind="stable")
    cases = {}
    for items in ITEMS:
        known = np.sort(order[:items])
        own, ours = np.ascontiguousarray(targets[known]), seen[:, known].tocsr()
        others = np.random.default_rng(1).integers(0, len(known), (len(queries), OTHERS))
        index, blocks = Index(own), TargetBlocks.of(own)
        for k in EACH:
            ways = {
                "products": lambda k=k: _by_products(queries, blocks, ours, others, k),  # noqa: B023
                "index": lambda k=k: _by_index(index, queries, own, ours, others, k),  # noqa: B023
            }
            times = time_interleaved(ways, 3)
            same = (np.sort(ways["products"]()) == np.sort(ways["index"]())).all(axis=1).mean()
            name = f"{len(known)}_items_{k}_candidates"
            cases[name] = {**times, "same_lists": round(float(same), 4)}
            log(name, cases[name])
    return {"users": len(queries), "machine": machine(), "cases": cases}


def _by_products(queries: Any, targets: Any, seen: Any, others: Any, k: int) -> Any:
    from batch_predictions.models.recommender.data.dense_scores import inner_products
    from batch_predictions.models.recommender.kernels.topk import topk_rows

    found = np.empty((len(queries), k), dtype=np.int64)
    for low in range(0, len(queries), USERS):
        part = slice(low, low + USERS)
        scores = inner_products(queries[part], targets)
        left = scores.copy()
        left[seen[part].nonzero()] = np.nan
        topk_rows(left, k, found[part], np.empty((len(left), k), dtype=np.float32))
        np.take_along_axis(scores, others[part], 1)
    return found


def _by_index(index: Any, queries: Any, targets: Any, seen: Any, others: Any, k: int) -> Any:
    found, _ = index.search(queries, k, seen=seen, threads=1)
    for low in range(0, len(queries), USERS):
        part = slice(low, low + USERS)
        np.einsum("nf,nuf->nu", queries[part], targets[others[part]])
    return found


if __name__ == "__main__":
    print_json(measure())
