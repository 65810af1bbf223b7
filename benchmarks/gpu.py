"""Tests that need a GPU, then exact search, nets, an encoder and a training on it and the CPU.

    make gpu
    python benchmarks/gpu.py [--small] [--only topk,cnn] [--json gpu.json]

Runs the tests that need a GPU (marker `gpu`), then each case twice in processes of its own: without
the GPU, and with it. Prints a table; without a GPU its columns are empty. `--small` takes seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import log, machine

Case = Callable[[int, str], tuple[Callable[[], Any], int, str]]
"""Takes a size and a device. Returns what is measured, its rows and what a row is."""


def main() -> None:
    """Runs the tests and all cases, or one case in this process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a hundredth of the rows")
    parser.add_argument("--only", default=",".join(CASES), help="cases, with commas")
    parser.add_argument("--json", type=Path, help="file that the figures are written to")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure_case(args.measure, args.small, Path(os.environ["RESULT"]))
        return
    gpu = gpu_name()
    log(f"GPU: {gpu or 'none: the figures are of the CPU alone'}")
    tests = run_tests() if gpu else "not run: no GPU"
    cases = {name: compare(name, args.small, bool(gpu)) for name in args.only.split(",")}
    report = {"gpu": gpu, "tests": tests, "machine": machine(), "cases": cases}
    if args.json:
        args.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    print_table(report)
    if tests.startswith("failed"):
        sys.exit(1)


def gpu_name() -> str:
    """Name of the first GPU; empty without one."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def run_tests() -> str:
    """The last line of the tests that need a GPU, after `failed: ` if one failed."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-n", "0"]
    root = Path(__file__).parents[1]
    finished = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    log(finished.stdout[-3000:])
    line = (finished.stdout.strip().splitlines() or ["pytest said nothing"])[-1]
    return line if finished.returncode == 0 else f"failed: {line}"


def compare(name: str, small: bool, has_gpu: bool) -> dict[str, Any]:
    """Seconds of a case by device, and the share of the results that are equal."""
    figures: dict[str, Any] = {}
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        for device in ("cpu", "cuda") if has_gpu else ("cpu",):
            file = Path(temporary) / f"{device}.npz"
            environment = {**os.environ, "RESULT": str(file)}
            if device == "cpu":
                environment["CUDA_VISIBLE_DEVICES"] = ""
            command = [sys.executable, __file__, "--measure", name, *(["--small"] * small)]
            subprocess.run(command, env=environment, check=True)
            with np.load(file) as saved:
                figures |= {"rows": int(saved["rows"]), "row": str(saved["row"])}
                figures[f"{device}_seconds"] = round(float(saved["seconds"]), 4)
                results.append(saved["result"])
    if has_gpu and results[0].size:
        equal = np.isclose(results[0], results[1], rtol=1e-3, atol=1e-4)
        figures["equal"] = round(float(equal.mean()), 4)
    log(name, figures)
    return figures


def measure_case(name: str, small: bool, file: Path) -> None:
    """Runs a case twice on the device that torch sees, and saves the second run's seconds."""
    import torch

    case, size = CASES[name]
    run, rows, row = case(max(size // 100, 16) if small else size, chosen_device())
    run()
    start = time.perf_counter()
    result = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    np.savez(file, result=result, seconds=seconds, rows=rows, row=row)


def chosen_device() -> str:
    """The device that `inference.device: auto` chooses."""
    from batch_predictions.inference.device import choose_device

    return choose_device("auto")


def topk(size: int, device: str) -> tuple[Callable[[], Any], int, str]:
    """Exact lists of 50 of a million items, 64 factors."""
    from batch_predictions.models.common.topk import Index

    random = np.random.default_rng(1)
    queries = random.normal(size=(size, 64)).astype(np.float32)
    targets = random.normal(size=(122 * size, 64)).astype(np.float32)
    index = Index(targets, device=device)
    return lambda: index.search(queries, 50)[0], size, "user"


def net(name: str) -> Case:
    """Scores of reviews of 40 words by a sentiment net, trained on a few."""

    def case(size: int, device: str) -> tuple[Callable[[], Any], int, str]:
        from sentiment_scoring import generate_texts, train_net

        from batch_predictions.models.sentiment.models.cnn import CNN
        from batch_predictions.models.sentiment.models.recurrent import LSTM
        from batch_predictions.models.sentiment.text.documents import Documents

        options = {"epochs": 2.0, "width": 128, "size": 128, "rate": 3e-3}
        model = train_net(CNN if name == "cnn" else LSTM, True, options).to_device(device)
        documents = Documents(generate_texts(size, 2)[0])
        return lambda: model.log_scores(documents).argmax(axis=1), size, "review"

    return case


def encoder(size: int, device: str) -> tuple[Callable[[], Any], int, str]:
    """Vectors of 40 words by a BERT of 6 layers and 384 dimensions, with random weights."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(1)
    layers = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12}
    model = BertModel(BertConfig(vocab_size=8000, intermediate_size=1536, **layers)).eval()
    model.to(device)
    ids = torch.randint(0, 8000, (size, 40))

    def run() -> Any:
        with torch.inference_mode():
            states = [
                model(ids[i : i + 256].to(device))[0][:, 0].cpu() for i in range(0, size, 256)
            ]
        return torch.cat(states).numpy()

    return run, size, "review"


def sequence(size: int, device: str) -> tuple[Callable[[], Any], int, str]:
    """A training of the network over sequences, 500 steps; the GPU is used where there is one."""
    from batch_predictions.models.recommender.kernels.sequence_network import (
        SequenceData,
        fit_network,
    )

    random = np.random.default_rng(1)
    indptr = np.arange(size + 1) * 20
    items = np.sort(random.zipf(1.2, (size, 20)) % 20_000, axis=1).ravel()
    data = SequenceData(items.astype(np.int64), indptr, np.arange(size) % 10 == 0)
    steps = 500 if size > 1000 else 20

    def run() -> Any:
        fit_network(
            data, 20_000, width=64, dropout=0.2, length=50, batch=64, negatives=2000, rate=2e-3,
            steps=steps, seed=1,
        )  # fmt: skip
        # A GPU adds up gradients in any order, so that no weight need be equal.
        return np.zeros(0)

    return run, steps, "step"


CASES: dict[str, tuple[Case, int]] = {
    "topk": (topk, 8192),
    "cnn": (net("cnn"), 32_768),
    "lstm": (net("lstm"), 32_768),
    "encoder": (encoder, 4096),
    "sequence": (sequence, 30_000),
}
"""Each case with its size."""


def print_table(report: dict[str, Any]) -> None:
    """Prints the figures as a table of Markdown."""
    sys.stdout.write(f"Tests: {report['tests']}\n\n")
    sys.stdout.write(f"| | rows | CPU, s | {report['gpu'] or 'no GPU'}, s | times | equal |\n")
    sys.stdout.write("| --- | ---: | ---: | ---: | ---: | ---: |\n")
    for name, figures in report["cases"].items():
        cpu, gpu = figures["cpu_seconds"], figures.get("cuda_seconds")
        faster = f"{gpu:.3f} | {cpu / gpu:.1f} | {figures.get('equal', '')}" if gpu else "| | "
        rows = f"{figures['rows']:,} {figures['row']}s"
        sys.stdout.write(f"| {name} | {rows} | {cpu:.3f} | {faster} |\n")


if __name__ == "__main__":
    main()
