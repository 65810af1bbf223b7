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
NOISE_QUESTIONS = (
    "sum(amount) of purchase for user in 7 days",
    "count(*) > 0 of purchase for user in 7 days",
    "first(date) of purchase for user in 7 days",
)


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
        rows = [accepted_share(text, args.noise, args.entities) for text in NOISE_QUESTIONS]
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
    from batch_predictions.models.queries.query_answers import calibration_rows
    from batch_predictions.models.queries.query_metrics import predicted_and_seen

    if model.query.target.task == "mean":
        predicted, seen = predicted_and_seen(model, test)
        return float(predicted.sum() / seen.sum())
    tenths = calibration_rows(model, test)
    return float(np.mean([abs(row["predicted"] - row["observed"]) for row in tenths]))


def accepted_share(question: str, n_worlds: int, entities: int) -> dict[str, Any]:
    """Share of worlds without signal in which a model is accepted, with its 95 % interval."""
    from batch_predictions.models.common.intervals import proportion
    from batch_predictions_tests.worlds.query_worlds import RandomWorld

    started = time.perf_counter()
    worlds = (RandomWorld(seed, question, n=entities) for seed in range(n_worlds))
    accepted = sum(world.select().beats_baseline for world in worlds)
    log(f"{question}: {accepted} of {n_worlds} accepted")
    share = proportion(accepted, n_worlds)
    return {
        "question": question,
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
