"""Speed of scoring reviews on one core: one by one, in batches, in bfloat16; memory of a stream.

    python benchmarks/sentiment_scoring.py [--number 4096] [--stream 1000000]

Prints JSON. The nets are trained on a few generated texts, which takes a minute: speed and memory
do not depend on the weights, but a comparison of predicted labels needs labels that vary.
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
from batch_predictions.models.sentiment.models.cnn import CNN, FILTER_WIDTHS
from batch_predictions.models.sentiment.models.net import MAX_TOKENS, NetArchitecture, NetModel
from batch_predictions.models.sentiment.models.recurrent import LSTM
from batch_predictions.models.sentiment.text.documents import Documents, batches_by_length
from batch_predictions.models.sentiment.text.token_ids import RaggedArray

CLASSES = 3
STREAM_WINDOW = 8192


def generate_texts(number: int, seed: int, vocabulary: int = 4000) -> tuple[list[str], np.ndarray]:
    """Texts of log-normal length, 40 words on average; two words of each depend on the label."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, number)
    texts = []
    for label in labels:
        length = int(np.clip(random.lognormal(3.5, 0.6), 3, 250))
        words = [f"w{n}" for n in random.zipf(1.3, length) % vocabulary]
        for _ in range(2):
            words[int(random.integers(length))] = f"feel{label}x{random.integers(30)}"
        texts.append(" ".join(words))
    return texts, labels.astype(np.int64)


def padding_share(lengths: np.ndarray) -> float:
    """Share of padding in all batches of `batches_by_length`, 0 to 1."""
    cells = tokens = 0
    for batch in batches_by_length(lengths):
        batch_lengths = lengths[batch]
        cells += int(batch_lengths.max()) * len(batch_lengths)
        tokens += int(batch_lengths.sum())
    return 1 - tokens / cells if cells else 0.0


def resident_mib() -> float:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def ignore_progress(text: str) -> None:
    """Progress that is not printed."""


def train_net(
    architecture: NetArchitecture, bidirectional: bool, options: dict[str, float]
) -> NetModel:
    """A net that is trained on a few texts, so that its predicted labels vary."""
    texts, labels = generate_texts(3000, 1)
    training = ModelTraining(CLASSES, 7, options=options, progress=ignore_progress)
    held_out = (Documents(texts[:300]), labels[:300])
    model = NetModel(architecture, bidirectional)
    return model.fit(Documents(texts[300:]), labels[300:], held_out, training)


def measure_net(
    architecture: NetArchitecture, bidirectional: bool, size: int, number: int
) -> dict[str, Any]:
    """Reviews per second one by one, in batches and in bfloat16; changed labels; utilisation.

    Args:
        architecture: which net.
        bidirectional: whether a recurrent net also reads the text backwards.
        size: embedding width and hidden size.
        number: reviews that are scored in batches; an eighth of them is scored one by one.
    """
    options = {"epochs": 2.0, "width": size, "size": size, "rate": 3e-3}
    model = train_net(architecture, bidirectional, options)
    assert model.module is not None
    documents = Documents(generate_texts(number, 2)[0])
    ids = model.vocabulary.encode(documents.token_ids, MAX_TOKENS)
    first_ids = ids.take(np.arange(number // 8))
    mean_tokens = float(ids.lengths.mean())
    flops = flops_per_review(architecture, bidirectional, size, mean_tokens)
    module = model.module

    def score_in_batches(dtype: torch.dtype) -> tuple[float, float]:
        """Reviews per second, and operations per second as a share of the fastest product's."""
        # The product is measured before and after, and in CPU time: interference slows both.
        product_before = fastest_product(size, dtype)
        wall_rate, cpu_rate = best_rates(lambda: model.log_scores(documents), number)
        fastest = max(product_before, fastest_product(size, dtype))
        return wall_rate, cpu_rate * flops / fastest

    single_rate, _ = best_rates(lambda: score_one_by_one(module, first_ids), len(first_ids))
    single_scores = score_one_by_one(module, first_ids)
    batch_scores = model.log_scores(documents)
    fp32_rate, fp32_share = score_in_batches(torch.float32)
    module.to(torch.bfloat16)
    bf16_scores = model.log_scores(documents)
    bf16_rate, bf16_share = score_in_batches(torch.bfloat16)
    labels = batch_scores.argmax(axis=1)
    single_labels = single_scores.argmax(axis=1)
    return {
        "naive": round(single_rate),
        "batched": round(fp32_rate),
        "bf16": round(bf16_rate),
        "batched_over_naive": round(fp32_rate / single_rate, 2),
        "bf16_over_naive": round(bf16_rate / single_rate, 2),
        "flips_alone_or_together": int((single_labels != labels[: len(first_ids)]).sum()),
        "bf16_flips": round(float((bf16_scores.argmax(axis=1) != labels).mean()), 4),
        "padding": round(padding_share(ids.lengths), 4),
        "mflop_a_review": round(flops / 1e6, 2),
        "share_of_fastest_product": {
            "fp32": round(fp32_share, 2),
            "bf16": round(bf16_share, 2),
        },
    }


def best_rates(run: Callable[[], Any], reviews: int) -> tuple[float, float]:
    """The best of three runs: reviews per second of wall time and of CPU time."""
    wall_rate = cpu_rate = 0.0
    for _ in range(3):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        run()
        wall_rate = max(wall_rate, reviews / (time.perf_counter() - wall_start))
        cpu_rate = max(cpu_rate, reviews / (time.process_time() - cpu_start))
    return wall_rate, cpu_rate


def score_one_by_one(module: torch.nn.Module, ids: RaggedArray) -> np.ndarray:
    """Logits (texts, classes) by one call of the module per text."""
    logits = []
    with torch.inference_mode():
        for row in ids.tolist():
            single, length = torch.tensor([row]), torch.tensor([len(row)])
            logits.append(module(single, length).float().numpy())
    return np.concatenate(logits)


def flops_per_review(
    architecture: NetArchitecture, bidirectional: bool, size: int, tokens: float
) -> float:
    """Floating-point operations of all matrix products of a review, without padding.

    A recurrent net multiplies every word vector (input projection) and every state by the matrices
    of its gates, in each direction; a CNN multiplies every window of 3, 4 and 5 vectors.

    Args:
        architecture: which net.
        bidirectional: whether a recurrent net also reads the text backwards.
        size: embedding width and hidden size.
        tokens: of the review.
    """
    if architecture is CNN:
        per_token = 2 * sum(FILTER_WIDTHS) * size * size
        head_inputs = len(FILTER_WIDTHS) * size
    else:
        directions = 2 if bidirectional else 1
        gates = {"lstm": 4, "gru": 3}[architecture.name]
        per_token = directions * 2 * gates * size * (size + size)
        head_inputs = directions * size
    return tokens * per_token + 2 * head_inputs * CLASSES


def fastest_product(size: int, dtype: torch.dtype) -> float:
    """Floating-point operations per CPU second of the fastest matrix product.

    The upper bound of everything that consists of products: the fastest over the shapes that occur
    in a net (one step of 64 texts; the input projections of batches of 40 and of 160 words) and
    large ones, and over torch's libraries. Torch's plain product alone is no bound: in single
    precision it calls MKL, which on AMD processors may use less than half of their width.
    """
    rows = (64, 64 * 40, 64 * 160)
    shapes = [(n, size, 4 * size) for n in rows] + [(n, n, n) for n in (512, 1024)]
    fastest = 0.0
    for n, inner, columns in shapes:
        flops = 2.0 * n * inner * columns
        repeats = max(1, int(2e9 / flops))
        for product in _matrix_products(n, inner, columns, dtype):
            with torch.inference_mode():
                product()
                seconds = min(_cpu_seconds(product, repeats) for _ in range(5))
            fastest = max(fastest, flops / seconds)
    return fastest


def _matrix_products(
    n: int, inner: int, columns: int, dtype: torch.dtype
) -> list[Callable[[], Any]]:
    """Implementations of (n, inner) times weights that a layer stores as (columns, inner)."""
    inputs, weight = torch.randn(n, inner, dtype=dtype), torch.randn(columns, inner, dtype=dtype)
    transposed = weight.t().contiguous()
    products: list[Callable[[], Any]] = [
        lambda: inputs @ transposed,
        lambda: torch.nn.functional.linear(inputs, weight),
    ]
    if torch.backends.mkldnn.is_available():
        # oneDNN with packed weights: what torch's compiler makes of a linear layer.
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, n)
        linear = torch.ops.mkldnn._linear_pointwise
        products.append(lambda: linear(inputs, packed, None, "none", [], ""))
    return products


def _cpu_seconds(product: Callable[[], torch.Tensor], repeats: int) -> float:
    """CPU seconds of one product."""
    started = time.process_time()
    for _ in range(repeats):
        product()
    return (time.process_time() - started) / repeats


def measure_stream(number: int) -> dict[str, Any]:
    """Memory and speed while a Parquet file of reviews is scored in windows."""
    model = train_net(CNN, True, {"epochs": 1.0})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reviews.parquet"
        _write_stream(path, number)
        memory, scored, padding, started = [], 0, [], time.perf_counter()
        # With pre_buffer the reader prefetches, and its memory grows with the file.
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(STREAM_WINDOW):
                documents = Documents(batch["text"].to_pylist())
                model.log_scores(documents)
                scored += len(documents)
                memory.append(resident_mib())
                lengths = np.minimum(documents.token_ids.rows.lengths, MAX_TOKENS)
                padding.append(padding_share(lengths))
    quarter = max(1, len(memory) // 4)
    return {
        "reviews": scored,
        "reviews_per_second": round(scored / (time.perf_counter() - started)),
        "first_mib": round(memory[0]),
        "most_mib": round(max(memory)),
        "growth_mib": round(max(memory) - memory[0]),
        "growth_after_a_quarter_mib": round(max(memory[quarter:]) - max(memory[:quarter])),
        "padding": round(max(padding), 4),
    }


def _write_stream(path: Path, number: int) -> None:
    """Writes a Parquet file of texts, drawn from a pool."""
    pool, _ = generate_texts(32_768, 3)
    random = np.random.default_rng(4)
    schema = pa.schema({"text": pa.string()})
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, number, STREAM_WINDOW):
            size = min(STREAM_WINDOW, number - start)
            sample = random.integers(0, len(pool), size).tolist()
            writer.write_table(pa.table({"text": [pool[n] for n in sample]}, schema))


def main() -> None:
    """Measures every net, then the stream."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=4096)
    parser.add_argument("--stream", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {
        "bilstm_128": measure_net(LSTM, True, 128, arguments.number),
        "lstm_64": measure_net(LSTM, False, 64, arguments.number),
        "cnn_64": measure_net(CNN, True, 64, arguments.number),
    }
    naive = report["bilstm_128"]["naive"]
    report["lstm_64_over_naive_bilstm_128"] = round(report["lstm_64"]["batched"] / naive, 1)
    report["cnn_64_over_naive_bilstm_128"] = round(report["cnn_64"]["batched"] / naive, 1)
    if arguments.stream:
        report["stream"] = measure_stream(arguments.stream)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
