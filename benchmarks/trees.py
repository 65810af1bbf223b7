"""Tree scoring: ours (`models/forest`) beside LightGBM's own predictor and tl2cgen's.

    batch-predictions benchmark trees --json

A binary model of 300 trees with 31 leaves on 40 features scores 200,000 rows, on one thread and on
two; tl2cgen, which compiles trees to C, is skipped where it or a C compiler is missing. Then each
feature's part in 2,000 margins (TreeSHAP), ours beside LightGBM's.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from common import interleaved, machine, ratio, say, show

from batch_predictions.models.forest.quickscorer import predictor
from batch_predictions.models.forest.treeshap import explainer

ROWS, FEATURES, TREES, LEAVES = 200_000, 40, 300, 31


def measure(repeats: int = 5) -> dict[str, Any]:
    """Times of all ways, how many times LightGBM's each is, and how far apart the answers are."""
    import lightgbm as lgb

    random = np.random.default_rng(3)
    rows = random.standard_normal((ROWS, FEATURES))
    label = (rows[:, 0] * rows[:, 1] + np.sin(rows[:, 2] * 2) + random.standard_normal(ROWS)) > 0
    say("training")
    model = lgb.train(
        {"objective": "binary", "num_leaves": LEAVES, "verbose": -1, "num_threads": 2},
        lgb.Dataset(rows[:50_000], label[:50_000]),
        TREES,
    )
    ways: dict[str, Any] = {
        f"lightgbm_{n}": lambda n=n: model.predict(rows, num_threads=n) for n in (1, 2)
    }
    margins = predictor(model.model_to_string())
    pool: ThreadPoolExecutor  # Opened below, before the ways are taken.
    halves = np.array_split(rows, 2)
    ways["forest_1"] = lambda: _probabilities(margins(rows))
    ways["forest_2"] = lambda: np.concatenate(
        list(pool.map(lambda half: _probabilities(margins(half)), halves))
    )
    with (
        ThreadPoolExecutor(2) as pool,
        tempfile.TemporaryDirectory(prefix="benchmark-trees-") as folder,
    ):
        compiled, why = _compiled(model, Path(folder))
        for n, predict in compiled.items():
            ways[f"tl2cgen_{n}"] = lambda predict=predict: predict(rows)
        times = interleaved(ways, repeats)
        some = rows[:2000]
        parts = explainer(model.model_to_string())
        explained = interleaved(
            {
                "lightgbm": lambda: model.predict(some, pred_contrib=True, num_threads=1),
                "forest": lambda: parts(some),
            },
            repeats,
        )
        lightgbms = np.asarray(model.predict(some, pred_contrib=True))[:, :-1]
        own = model.predict(rows)
        apart = {
            name: float(np.abs(np.ravel(work()) - own).max())
            for name, work in ways.items()
            if not name.startswith("lightgbm")
        }
    return {
        "rows": ROWS,
        "trees": TREES,
        "machine": machine(),
        "times": times,
        "times_lightgbm": {name: ratio(times, f"lightgbm_{name[-1]}", name) for name in apart},
        "largest_difference": apart,
        "explained": explained,
        "explained_times_lightgbm": ratio(explained, "lightgbm", "forest"),
        "explained_largest_difference": float(np.abs(parts(some) - lightgbms).max()),
        "skipped": why,
    }


def _probabilities(margins: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-margins))


def _compiled(model: Any, folder: Path) -> tuple[dict[int, Any], str | None]:
    """Predictors by number of threads, which take the rows as LightGBM does."""
    if not shutil.which("cc"):
        return {}, "no C compiler"
    try:
        import tl2cgen
        import treelite
    except ImportError as error:
        return {}, str(error)
    model.save_model(str(folder / "model.txt"))
    forest = treelite.frontend.load_lightgbm_model(str(folder / "model.txt"))
    library = folder / "model.so"
    say("compiling")
    tl2cgen.export_lib(
        forest, toolchain="gcc", libpath=str(library), params={"parallel_comp": 8}, verbose=False
    )

    def way(threads: int) -> Any:
        predictor = tl2cgen.Predictor(str(library), nthread=threads)
        # The matrix is copied by tl2cgen: part of the price.
        return lambda rows: predictor.predict(tl2cgen.DMatrix(rows, dtype="float64"))

    return {threads: way(threads) for threads in (1, 2)}, None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    show(measure(parser.parse_args().repeats))
