"""Quality of predictive queries on a home's newest past window: best baseline, best model, gain.

    python benchmarks/query_quality.py --home HOME [QUESTION ...] [--json]
    python benchmarks/query_quality.py --noise 200 [--entities 120] [--json]

Every question runs in a process of its own, as `batch-predictions ask` runs it: the models are
fitted on earlier windows. Without questions, ten on the Complete Journey are asked. The gain is
that of the best model with trees over the best baseline, positive where the model is better.
`calibration` is of what serves: the predicted total over the observed one for expected values; for
probabilities, the mean difference between both over tenths of the predictions.

With --noise, models are selected in worlds in which the future depends on nothing. The result is
the share of the worlds in which a model is accepted by chance.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import log, machine, print_json

QUESTIONS = (
    "sum(amount) of purchase for user in 28 days",
    "count(*) > 0 of purchase where subcategory = 'COFFEE' for user in 14 days",
    "first(date) of purchase for user in 28 days",
    "top(3, category) of purchase for user in 14 days",
    "count(distinct item_id) of purchase for user in 7 days from 7",
    "count(*) of purchase for item in 7 days",
    "count(*) > 0 of purchase for item in 28 days",
    "sum(amount) of purchase for location in 7 days",
    "sum(amount) of purchase for category in 14 days",
    "count(*) > 0 of purchase for user x category in 14 days",
)
NOISE_QUESTIONS = {
    "mean": "sum(amount) of purchase for user in 7 days",
    "probability": "count(*) > 0 of purchase for user in 7 days",
    "first": "first(date) of purchase for user in 7 days",
}
FIRST, LAST = dt.date(2024, 1, 1), dt.date(2024, 6, 30)


def main() -> None:
    """Asks every question in a process of its own, or selects models in worlds of noise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("questions", nargs="*", metavar="QUESTION")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--noise", type=int, metavar="N", help="worlds without signal, per kind")
    parser.add_argument("--entities", type=int, default=120, help="of each day in these worlds")
    parser.add_argument("--json", action="store_true", help="one JSON object, not Markdown")
    parser.add_argument("--one", metavar="QUESTION", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print_json(ask(args.home, args.one), in_one_line=True)
    elif args.noise:
        rows = [accepted_share(name, args.noise, args.entities) for name in NOISE_QUESTIONS]
        show(rows, args.json)
    elif args.home:
        show([ask_in_process(args.home, text) for text in args.questions or QUESTIONS], args.json)
    else:
        parser.error("--home or --noise is needed")


def ask_in_process(home: Path, question: str) -> dict[str, Any]:
    """The row of a question; its seconds and its peak memory are those of a process of its own."""
    log(question)
    command = [sys.executable, __file__, "--home", str(home), "--one", question]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    log(result.stdout.strip())
    row: dict[str, Any] = json.loads(result.stdout)
    return row


def ask(home: Path, question: str) -> dict[str, Any]:
    """Selects the model of a question on the newest past window of a home."""
    from batch_predictions.models.queries.query_training import train_query
    from batch_predictions.planning.declarations import load_declarations
    from batch_predictions.settings import Settings
    from batch_predictions.settings.predictive_query import PredictiveQuery
    from batch_predictions.tables import INTERACTIONS
    from batch_predictions.warehouse import Warehouse, as_date

    settings = Settings.load(home)
    load_declarations(settings)
    warehouse, query = Warehouse.of(settings), PredictiveQuery.from_question(question)
    through = as_date(warehouse.partitions(INTERACTIONS)[-1])
    started = time.perf_counter()
    selection = train_query(warehouse, settings, query, through, log, refit=False)
    seconds = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "question": question,
        **describe_selection(selection),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mb": round(usage.ru_maxrss * 1024 / 1e6),
    }


def describe_selection(selection: Any) -> dict[str, Any]:
    """The gate's metric of the best baseline and model, the gain, and the calibration."""
    gate, test = selection.gate, selection.test
    if gate is None:
        return {"serves": selection.candidate, "why": selection.why, "rows": 0}
    sign = 1 if gate.lower_is_better else -1
    values = {
        row["candidate"]: row["value"] for row in gate.metrics if row["metric"] == gate.metric
    }
    baseline = min(values.keys() - gate.gains, key=lambda name: sign * values[name])
    row = {
        "serves": gate.serving,
        "metric": gate.metric,
        "baseline": baseline,
        "of_baseline": values[baseline],
        "rows": len(test),
        "calibration": calibration(selection.tested, test),
        "left_out": list(selection.left_out),
    }
    if gate.gains:
        best = max(gate.gains, key=lambda name: gate.gains[name].mean)
        gain = gate.gains[best]
        row |= {
            "model": best,
            "of_model": values[best],
            "gain": gain.mean,
            "gain_lower": gain.lower,
            "gain_upper": gain.upper,
            "units": gain.n,
        }
    return row


def calibration(model: Any, test: Any) -> float:
    """Predicted over observed total of expected values; calibration error of probabilities."""
    from batch_predictions.models.queries.query_answers import calibration_rows, predicted_and_seen

    if model.query.target.task == "mean":
        predicted, seen = predicted_and_seen(model, test)
        return float(predicted.sum() / seen.sum())
    tenths = calibration_rows(model, test)
    return float(np.mean([abs(row["predicted"] - row["observed"]) for row in tenths]))


class RandomWorld:
    """Entities whose features are drawn anew every day, and whose future depends on none.

    Args:
        name: kind of target, a key of NOISE_QUESTIONS.
        seed: of the world.
        n: entities of each day.
    """

    def __init__(self, name: str, seed: int, n: int) -> None:
        from batch_predictions.features.history.history_sql import History
        from batch_predictions.settings.predictive_query import PredictiveQuery

        self.query = PredictiveQuery.from_question(NOISE_QUESTIONS[name])
        self.history = History.of((self.query,), ())
        self.random, self.n = np.random.default_rng(seed), n

    def read(self, day: dt.date) -> Any:
        """Features and targets of a day."""
        import pyarrow as pa

        from batch_predictions.models.queries.feature_encoder import WEEKDAY
        from batch_predictions.models.queries.query_examples import QueryExamples

        random, n = self.random, self.n
        columns: dict[str, Any] = {"user_id": [f"u{number:04}" for number in range(n)]}
        for name in self.history.features():
            columns[name] = random.gamma(1.0, 2.0, n)
        for name in self.history.attributes:
            columns[name] = pa.nulls(n, pa.string())
        entries = [[("segment", str(value))] for value in random.integers(3, size=n)]
        columns["user_attributes"] = pa.array(entries, pa.map_(pa.string(), pa.string()))
        columns[WEEKDAY] = np.full(n, float(day.weekday()))
        return QueryExamples(pa.table(columns), self._target())

    def _target(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        happened = self.random.random(self.n) < 0.4
        task = self.query.target.task
        if task == "mean":
            return happened * self.random.gamma(1.0, 20.0, self.n)
        if task == "first":
            return np.where(happened, self.random.integers(1, self.query.days + 1, self.n), np.nan)
        return happened.astype(np.float64)


def accepted_share(name: str, n_worlds: int, entities: int) -> dict[str, Any]:
    """Share of worlds without signal in which a model is accepted, with its 95 % interval."""
    from batch_predictions.models.common.intervals import proportion
    from batch_predictions.models.queries.query_selection import select_query_model

    accepted, started = 0, time.perf_counter()
    for seed in range(n_worlds):
        world = RandomWorld(name, seed, entities)
        selection = select_query_model(
            world.query, world.history, world.read, FIRST, LAST, seed=7, refit=False
        )
        accepted += selection.beats_baseline
    log(f"{name}: {accepted} of {n_worlds} accepted")
    share = proportion(accepted, n_worlds)
    return {
        "question": world.query.question,
        "worlds": n_worlds,
        "accepted": share.mean,
        "lower": share.lower,
        "upper": share.upper,
        "seconds": round(time.perf_counter() - started, 1),
    }


def show(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Prints rows as a Markdown table, or as JSON with the machine."""
    if as_json:
        print_json({"rows": rows, "machine": machine()})
        return
    table = [_noise_cells(row) if "worlds" in row else _question_cells(row) for row in rows]
    lines = [[*table[0]], ["---"] * len(table[0]), *([*cells.values()] for cells in table)]
    for line in lines:
        print("|", " | ".join(line), "|")


def _question_cells(row: dict[str, Any]) -> dict[str, str]:
    has_model = "model" in row
    gain = "–"
    if has_model:
        gain = f"{row['gain']:+.3g} ({row['gain_lower']:+.3g} to {row['gain_upper']:+.3g})"
    return {
        "question": f"`{row['question']}`",
        "serves": row["serves"],
        "metric": row.get("metric", "–"),
        "best baseline": f"{row['baseline']} {row['of_baseline']:.4g}" if row["rows"] else "–",
        "best model": f"{row['model']} {row['of_model']:.4g}" if has_model else "–",
        "gain, 95 % interval": gain,
        "calibration": f"{row['calibration']:.3f}" if row["rows"] else "–",
        "rows": f"{row['rows']:,}",
        "CPU s": f"{row['cpu_seconds']:.0f}",
        "MB": f"{row['peak_mb']:,}",
    }


def _noise_cells(row: dict[str, Any]) -> dict[str, str]:
    return {
        "question": f"`{row['question']}`",
        "worlds": str(row["worlds"]),
        "accepted": f"{row['accepted']:.1%}",
        "95 % interval": f"{row['lower']:.1%} to {row['upper']:.1%}",
    }


if __name__ == "__main__":
    main()
