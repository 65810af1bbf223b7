"""Speed of scoring reviews on one core: one by one, in batches, in bfloat16; memory over a stream.

    python benchmarks/sentiment_scoring.py [--stream 1000000]

Prints JSON. Weights are random: speed and memory do not depend on them, and a label that flips
between two arithmetics is counted on logits of a net that was trained for a minute.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from batch_predictions.models.sentiment.models.base import ModelTraining
from batch_predictions.models.sentiment.models.batching import padding_share
from batch_predictions.models.sentiment.models.modules import WIDTHS
from batch_predictions.models.sentiment.models.nets import LONGEST, NetModel
from batch_predictions.models.sentiment.text.documents import Documents


def texts(number: int, seed: int, vocabulary: int = 4000) -> tuple[list[str], np.ndarray]:
    """Texts of log-normal lengths about 40 words; some words carry the label."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, number)
    out = []
    for label in labels:
        length = int(np.clip(random.lognormal(3.5, 0.6), 3, 250))
        words = random.zipf(1.3, length) % vocabulary
        said = [f"w{n}" for n in words]
        for _ in range(2):
            said[int(random.integers(length))] = f"feel{label}x{random.integers(30)}"
        out.append(" ".join(said))
    return out, labels.astype(np.int64)


def resident_mib() -> float:
    """Memory of this process now."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def _unheard(text: str) -> None:
    """Progress that nobody reads."""


def trained(net: str, both: bool, options: dict[str, float]) -> NetModel:
    """A net that has seen a few texts: what it says is not always the same."""
    said, labels = texts(3000, 1)
    training = ModelTraining(3, 7, options=options, progress=_unheard)
    held = (Documents(said[:300]), labels[:300])
    return NetModel(net, both).fit(Documents(said[300:]), labels[300:], held, training)


def speeds(net: str, both: bool, size: int, number: int) -> dict[str, Any]:
    """Reviews a second of one net: naive loop, batches, bfloat16; flips; share of the bound."""
    part = trained(net, both, {"epochs": 2.0, "width": size, "size": size, "rate": 3e-3})
    some = Documents(texts(number, 2)[0])
    ids = part.vocabulary.encode(some.coded, LONGEST)
    few = ids.tolist()[: number // 8]
    tokens = float(ids.lengths.mean())
    flops = flops_of_review(net, both, size, tokens, classes=3)

    def rates(run: Any, rows: int) -> tuple[float, float]:
        """The best of three, by the clock and by the processor's time."""
        wall = cpu = 0.0
        for _ in range(3):
            began, burnt = time.perf_counter(), time.process_time()
            run()
            wall = max(wall, rows / (time.perf_counter() - began))
            cpu = max(cpu, rows / (time.process_time() - burnt))
        return wall, cpu

    def one_by_one() -> np.ndarray:
        out = []
        with torch.inference_mode():
            for each in few:
                filled, length = torch.tensor([each]), torch.tensor([len(each)])
                out.append(part.module(filled, length).float().numpy())  # type: ignore[misc]
        return np.concatenate(out)

    def batched(dtype: torch.dtype) -> tuple[float, float]:
        """Reviews a second, and their share of what the fastest products would allow."""
        # Before and after, and in the processor's time: what slows the machine slows both.
        first, (wall, cpu) = best_product(size, dtype), rates(log_scores, number)
        return wall, cpu * flops / max(first, best_product(size, dtype))

    def log_scores() -> None:
        part.log_scores(some)

    naive, alone = rates(one_by_one, len(few))[0], one_by_one()
    whole = part.log_scores(some)
    plain, plain_share = batched(torch.float32)
    part.module.to(torch.bfloat16)  # type: ignore[union-attr]
    quick = part.log_scores(some)
    half, half_share = batched(torch.bfloat16)
    return {
        "naive": round(naive),
        "batched": round(plain),
        "bf16": round(half),
        "batched_over_naive": round(plain / naive, 2),
        "bf16_over_naive": round(half / naive, 2),
        "flips_alone_or_together": int((alone.argmax(1) != whole[: len(few)].argmax(1)).sum()),
        "bf16_flips": round(float((quick.argmax(1) != whole.argmax(1)).mean()), 4),
        "padding": round(padding_share(ids.lengths), 4),
        "mflop_a_review": round(flops / 1e6, 2),
        "share_of_fastest_product": {
            "fp32": round(plain_share, 2),
            "bf16": round(half_share, 2),
        },
    }


def flops_of_review(net: str, both: bool, size: int, tokens: float, classes: int) -> float:
    """Floating-point operations of all matrix products of a review; width and size are equal.

    A recurrent net multiplies every word's vector (input projection) and every state by the
    matrices of its gates, in each direction; a CNN every window of 3, 4 and 5 vectors. Padding is
    not counted: it is work that nobody asked for.
    """
    if net == "cnn":
        per_token, pooled = 2 * sum(WIDTHS) * size * size, len(WIDTHS) * size
    else:
        directions = 2 if both else 1
        gates = {"lstm": 4, "gru": 3}[net]
        per_token, pooled = directions * 2 * gates * size * (size + size), directions * size
    return tokens * per_token + 2 * pooled * classes


def best_product(size: int, dtype: torch.dtype) -> float:
    """Floating-point operations of the fastest matrix product in a second of the processor.

    A bound of everything that is made of products: the fastest over the shapes that occur in a net
    (one step of 64 texts; the input projection of a batch of 40 words, and of a longer one) and
    large ones, by every library that torch has. Torch's plain product is no bound: in single
    precision it asks MKL, which on this AMD processor works at less than half its width, and the
    fused LSTM does not.
    """
    rows = (64, 64 * 40, 64 * 160)
    shapes = [(n, size, 4 * size) for n in rows] + [(n, n, n) for n in (512, 1024)]
    best = 0.0
    for n, inner, columns in shapes:
        flops = 2.0 * n * inner * columns
        times = max(1, int(2e9 / flops))
        for product in _products(n, inner, columns, dtype):
            with torch.inference_mode():
                product()
                seconds = min(_seconds_of(product, times) for _ in range(5))
            best = max(best, flops / seconds)
    return best


def _products(n: int, inner: int, columns: int, dtype: torch.dtype) -> list[Callable[[], Any]]:
    """Ways to multiply (n, inner) by weights (columns, inner) as a layer has them."""
    a, weight = torch.randn(n, inner, dtype=dtype), torch.randn(columns, inner, dtype=dtype)
    laid = weight.t().contiguous()
    ways: list[Callable[[], Any]] = [
        lambda: a @ laid,
        lambda: torch.nn.functional.linear(a, weight),
    ]
    if torch.backends.mkldnn.is_available():
        # oneDNN, with weights packed beforehand: what torch's compiler makes of a linear layer.
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, n)
        linear = torch.ops.mkldnn._linear_pointwise
        ways.append(lambda: linear(a, packed, None, "none", [], ""))
    return ways


def _seconds_of(product: Callable[[], torch.Tensor], times: int) -> float:
    """Seconds of the processor for one product."""
    began = time.process_time()
    for _ in range(times):
        product()
    return (time.process_time() - began) / times


def stream(number: int) -> dict[str, Any]:
    """Memory while a Parquet file of reviews is scored in windows of 8,192."""
    part = trained("cnn", True, {"epochs": 1.0})
    pool, _ = texts(32_768, 3)
    random = np.random.default_rng(4)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reviews.parquet"
        schema = pa.schema({"text": pa.string()})
        with pq.ParquetWriter(path, schema) as writer:
            for start in range(0, number, 8192):
                drawn = random.integers(0, len(pool), min(8192, number - start)).tolist()
                writer.write_table(pa.table({"text": [pool[n] for n in drawn]}, schema))
        memory, done, padding, began = [], 0, [], time.perf_counter()
        # The default reads ahead of what is needed, which grows with the file.
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(8192):
                documents = Documents(batch["text"].to_pylist())
                part.log_scores(documents)
                done += len(documents)
                memory.append(resident_mib())
                lengths = np.minimum(documents.coded.rows.lengths, LONGEST)
                padding.append(padding_share(lengths))
    quarter = max(1, len(memory) // 4)
    return {
        "reviews": done,
        "reviews_per_second": round(done / (time.perf_counter() - began)),
        "first_mib": round(memory[0]),
        "most_mib": round(max(memory)),
        "growth_mib": round(max(memory) - memory[0]),
        "growth_after_a_quarter_mib": round(max(memory[quarter:]) - max(memory[:quarter])),
        "padding": round(max(padding), 4),
    }


def main() -> None:
    """Every net, then the stream."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=4096)
    parser.add_argument("--stream", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {
        "bilstm_128": speeds("lstm", True, 128, given.number),
        "lstm_64": speeds("lstm", False, 64, given.number),
        "cnn_64": speeds("cnn", True, 64, given.number),
    }
    naive = report["bilstm_128"]["naive"]
    report["lstm_64_over_naive_bilstm_128"] = round(report["lstm_64"]["batched"] / naive, 1)
    report["cnn_64_over_naive_bilstm_128"] = round(report["cnn_64"]["batched"] / naive, 1)
    if given.stream:
        report["stream"] = stream(given.stream)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
