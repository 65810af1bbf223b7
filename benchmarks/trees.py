"""Speed of scoring trees: `models/forest`, LightGBM's own predictor, and tl2cgen's.

    batch-predictions benchmark trees --json

A binary model of 300 trees with 31 leaves on 40 features scores 200,000 rows, on one thread and on
two. tl2cgen, which compiles trees to C, is skipped if it or a C compiler is missing. Then 2,000
rows are explained: by `models/forest` with the Banzhaf values of five groups of eight features
each, and by LightGBM with Shapley values, whose sums by group are compared with these.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import typer
from common import Repeats, log, machine, print_json, time_interleaved, time_ratio

from batch_predictions.cli.console.options import Json
from batch_predictions.models.forest.banzhaf import build_banzhaf_explainer, sum_players
from batch_predictions.models.forest.quickscorer import build_predictor

ROWS, FEATURES, TREES, LEAVES = 200_000, 40, 300, 31
TRAINING_ROWS = 50_000
EXPLAINED_ROWS = 2000


def measure(repeats: int = 5) -> dict[str, Any]:
    """Times of all predictors, their ratio to LightGBM's, and differences of results."""
    random = np.random.default_rng(3)
    rows = random.standard_normal((ROWS, FEATURES))
    label = (rows[:, 0] * rows[:, 1] + np.sin(rows[:, 2] * 2) + random.standard_normal(ROWS)) > 0
    log("training")
    model = _train(rows[:TRAINING_ROWS], label[:TRAINING_ROWS])
    predict_raw = build_predictor(model.model_to_string())
    halves = np.array_split(rows, 2)
    with (
        ThreadPoolExecutor(2) as pool,
        tempfile.TemporaryDirectory(prefix="benchmark-trees-") as folder,
    ):
        predictors: dict[str, Callable[[], Any]] = {
            "lightgbm_1": lambda: model.predict(rows, num_threads=1),
            "lightgbm_2": lambda: model.predict(rows, num_threads=2),
            "forest_1": lambda: _sigmoid(predict_raw(rows)),
            "forest_2": lambda: np.concatenate(
                list(pool.map(lambda half: _sigmoid(predict_raw(half)), halves))
            ),
        }
        compiled, skipped = _compile_predictors(model, Path(folder))
        for threads, predict in compiled.items():
            predictors[f"tl2cgen_{threads}"] = partial(predict, rows)
        times = time_interleaved(predictors, repeats)
        expected = model.predict(rows)
        differences = {
            name: float(np.abs(np.ravel(predict()) - expected).max())
            for name, predict in predictors.items()
            if not name.startswith("lightgbm")
        }
    return {
        "rows": ROWS,
        "trees": TREES,
        "machine": machine(),
        "times": times,
        "times_lightgbm": {
            name: time_ratio(times, f"lightgbm_{name[-1]}", name) for name in differences
        },
        "largest_difference": differences,
        **_measure_explainers(model, rows[:EXPLAINED_ROWS], repeats),
        "skipped": skipped,
    }


def _train(rows: np.ndarray, label: np.ndarray) -> Any:
    import lightgbm as lgb

    params = {"objective": "binary", "num_leaves": LEAVES, "verbose": -1, "num_threads": 2}
    return lgb.train(params, lgb.Dataset(rows, label), TREES)


def _measure_explainers(model: Any, rows: np.ndarray, repeats: int) -> dict[str, Any]:
    """Times of explanations by LightGBM and by `models/forest`, and how often they agree."""
    groups = [feature // 8 for feature in range(FEATURES)]
    explain = build_banzhaf_explainer(model.model_to_string(), groups)
    times = time_interleaved(
        {
            "lightgbm": lambda: model.predict(rows, pred_contrib=True, num_threads=1),
            "forest": lambda: explain(rows),
        },
        repeats,
    )
    expected = np.asarray(model.predict(rows, pred_contrib=True))[:, :-1]
    is_equal = explain(rows).argmax(axis=1) == sum_players(expected, groups).argmax(axis=1)
    return {
        "explained": times,
        "explained_times_lightgbm": time_ratio(times, "lightgbm", "forest"),
        "groups_with_equal_largest": float(is_equal.mean()),
    }


def _sigmoid(raw_scores: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-raw_scores))


def _compile_predictors(
    model: Any, folder: Path
) -> tuple[dict[int, Callable[[Any], Any]], str | None]:
    """tl2cgen's predictors by number of threads, and why there are none."""
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
    log("compiling")
    tl2cgen.export_lib(
        forest, toolchain="gcc", libpath=str(library), params={"parallel_comp": 8}, verbose=False
    )

    def load_predictor(threads: int) -> Callable[[Any], Any]:
        predictor = tl2cgen.Predictor(str(library), nthread=threads)
        # tl2cgen copies the matrix, which is part of the measured time.
        return lambda rows: predictor.predict(tl2cgen.DMatrix(rows, dtype="float64"))

    return {threads: load_predictor(threads) for threads in (1, 2)}, None


def main(repeats: Repeats = 5, as_json: Json = False) -> None:
    """LightGBM's own predictor and compiled trees."""
    print_json(measure(repeats), as_json)


if __name__ == "__main__":
    typer.run(main)
