"""int8 against single precision and bfloat16: speed, changed labels, independence of the batch.

    pip install onnx onnxruntime                 # in no extra; without them only torch is measured
    python benchmarks/sentiment_int8.py [--number 4096]

Prints JSON; uses one core. Torch: dynamic quantisation of the LSTM and the linear layers. ONNX
Runtime: the same net, exported and dynamically quantised; it has no masks, so that all backends get
batches of texts of one exact length. Dynamic quantisation scales activations by the maximum of the
batch, so a review's scores may depend on its batch: some reviews are also scored alone.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import log, machine, print_json
from sentiment_scoring import generate_texts, train_net

from batch_predictions.models.sentiment.models.base import log_softmax
from batch_predictions.models.sentiment.models.net import MAX_TOKENS
from batch_predictions.models.sentiment.models.recurrent import LSTM
from batch_predictions.models.sentiment.text.documents import Documents, batches_by_length, pad

Backend = Callable[[np.ndarray], np.ndarray]
"""Logits (texts, classes) of token ids (texts, length)."""


def torch_backend(module: torch.nn.Module) -> Backend:
    """Runs a torch module."""

    def run(ids: np.ndarray) -> np.ndarray:
        lengths = torch.full((len(ids),), ids.shape[1])
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(ids), lengths).float().numpy())

    return run


def quantise(module: torch.nn.Module) -> torch.nn.Module:
    """int8 weights in the LSTM and the linear layers; activations are scaled batch by batch."""
    layers = {torch.nn.LSTM, torch.nn.Linear}
    quantised: torch.nn.Module = torch.ao.quantization.quantize_dynamic(module, layers, torch.qint8)
    return quantised


class UnmaskedLSTM(torch.nn.Module):
    """The net without masks, for the export to ONNX; equal to it for texts of one length."""

    def __init__(self, module: Any, size: int, bidirectional: bool) -> None:
        super().__init__()
        self.embedding, self.out = module.embedding, module.out
        self.lstm = torch.nn.LSTM(size, size, bidirectional=bidirectional, batch_first=True)
        with torch.no_grad():
            for suffix, direction in (("", module.onward), ("_reverse", module.back)):
                parameters = direction.named_parameters() if direction is not None else ()
                for name, values in parameters:
                    self.lstm.get_parameter(name + suffix).copy_(values)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits of a batch."""
        logits: torch.Tensor = self.out(self.lstm(self.embedding(ids))[0].amax(dim=1))
        return logits


def onnx_backends(
    module: torch.nn.Module, size: int, bidirectional: bool, folder: Path
) -> dict[str, Backend]:
    """ONNX Runtime in single precision and in int8; empty where it is not installed."""
    if not all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime")):
        log("onnx and onnxruntime are not installed: only torch is measured")
        return {}
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    fp32_path, int8_path = str(folder / "fp32.onnx"), str(folder / "int8.onnx")
    torch.onnx.export(
        UnmaskedLSTM(module, size, bidirectional).eval(),
        (torch.ones(64, 40, dtype=torch.long),),
        fp32_path,
        input_names=["ids"],
        dynamic_axes={"ids": {0: "texts", 1: "words"}},
        dynamo=False,
        opset_version=17,
    )
    quantize_dynamic(fp32_path, int8_path, weight_type=QuantType.QInt8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1

    def load(path: str) -> Backend:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda ids: np.asarray(session.run(None, {"ids": ids})[0])

    return {"onnx_fp32": load(fp32_path), "onnx_int8": load(int8_path)}


def measure(bidirectional: bool, size: int, number: int, repeats: int) -> dict[str, Any]:
    """Speed of every backend, in turn, and its labels against torch in single precision."""
    model = train_net(
        LSTM, bidirectional, {"epochs": 2.0, "width": size, "size": size, "rate": 3e-3}
    )
    assert model.module is not None
    model.module.eval()
    documents = Documents(generate_texts(number, 2)[0])
    ids = model.vocabulary.encode(documents.token_ids, MAX_TOKENS)
    batches = [pad(ids, batch)[0] for batch in batches_by_length(ids.lengths, tolerance=0.0)]
    bf16_module = copy.deepcopy(model.module).to(torch.bfloat16)
    with tempfile.TemporaryDirectory(prefix="benchmark-int8-") as folder:
        backends = {
            "torch_fp32": torch_backend(model.module),
            "torch_bf16": torch_backend(bf16_module),
            "torch_int8": torch_backend(quantise(model.module)),
            **onnx_backends(model.module, size, bidirectional, Path(folder)),
        }
        seconds = dict.fromkeys(backends, float("inf"))
        logits = {}
        for _ in range(repeats):
            for name, backend in backends.items():
                started = time.perf_counter()
                logits[name] = np.concatenate([backend(batch) for batch in batches])
                seconds[name] = min(seconds[name], time.perf_counter() - started)
        invariance = _measure_invariance(backends, batches[::8])
    reference = logits["torch_fp32"].argmax(axis=1)
    return {
        name: {
            "reviews_per_second": round(number / seconds[name]),
            "over_torch_fp32": round(seconds["torch_fp32"] / seconds[name], 2),
            "flips_percent": round(
                100 * float((logits[name].argmax(axis=1) != reference).mean()), 3
            ),
            "alone_or_together": invariance[name],
        }
        for name in backends
    }


def _measure_invariance(
    backends: Mapping[str, Backend], batches: Sequence[np.ndarray]
) -> dict[str, dict[str, float]]:
    """How much a review's result depends on its batch: each is scored alone and in its batch."""
    results = {}
    for name, backend in backends.items():
        alone = np.concatenate([backend(row[np.newaxis]) for batch in batches for row in batch])
        together = np.concatenate([backend(batch) for batch in batches])
        difference = np.abs(np.exp(log_softmax(alone)) - np.exp(log_softmax(together))).max()
        results[name] = {
            "reviews": len(alone),
            "flips": int((alone.argmax(axis=1) != together.argmax(axis=1)).sum()),
            "largest_difference_of_a_probability": float(f"{difference:.1g}"),
        }
    return results


def main() -> None:
    """Measures two nets with every backend."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print_json(
        {
            "bilstm_128": measure(True, 128, arguments.number, arguments.repeats),
            "lstm_64": measure(False, 64, arguments.number, arguments.repeats),
            **machine(),
        }
    )


if __name__ == "__main__":
    main()
