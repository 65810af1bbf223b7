"""int8 against single precision and bfloat16: speed, labels that flip, and whether it is invariant.

    pip install onnx onnxruntime                 # of no extra: without them torch's alone is tried
    python benchmarks/sentiment_int8.py [--number 4096]

Prints JSON, one core. Torch: dynamic quantisation of LSTM and linear layers. ONNX Runtime: the same
net exported and quantised dynamically; it has no masks, so all ways get batches of one exact
length. Activations are scaled by the largest of a batch, so a review's scores may depend on those
beside it: each of some reviews is also scored alone.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import machine, say, show
from sentiment_scoring import texts, trained

from batch_predictions.models.sentiment.models.base import log_softmax
from batch_predictions.models.sentiment.models.batching import by_length, padded
from batch_predictions.models.sentiment.models.nets import LONGEST
from batch_predictions.models.sentiment.text.documents import Documents

Way = Callable[[np.ndarray], np.ndarray]
"""Logits (texts, classes) of ids (texts, length)."""


def of_module(module: torch.nn.Module) -> Way:
    """Torch's own."""

    def run(ids: np.ndarray) -> np.ndarray:
        lengths = torch.full((len(ids),), ids.shape[1])
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(ids), lengths).float().numpy())

    return run


def quantised(module: torch.nn.Module) -> torch.nn.Module:
    """LSTM and linear layers with weights in int8, activations scaled batch by batch."""
    layers = {torch.nn.LSTM, torch.nn.Linear}
    made: torch.nn.Module = torch.ao.quantization.quantize_dynamic(module, layers, torch.qint8)
    return made


class Plain(torch.nn.Module):
    """The net without masks, as ONNX has it: for texts of one length it is the same net."""

    def __init__(self, module: Any, size: int, both: bool) -> None:
        super().__init__()
        self.embedding, self.out = module.embedding, module.out
        self.read = torch.nn.LSTM(size, size, bidirectional=both, batch_first=True)
        with torch.no_grad():
            for suffix, cell in (("", module.onward), ("_reverse", module.back)):
                for name, values in cell.named_parameters() if cell is not None else ():
                    self.read.get_parameter(name + suffix).copy_(values)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits of a batch."""
        logits: torch.Tensor = self.out(self.read(self.embedding(ids))[0].amax(dim=1))
        return logits


def onnx_ways(module: torch.nn.Module, size: int, both: bool, folder: Path) -> dict[str, Way]:
    """ONNX Runtime in single precision and int8, where it is installed."""
    if not all(importlib.util.find_spec(each) for each in ("onnx", "onnxruntime")):
        say("onnx and onnxruntime are not installed: left out")
        return {}
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    plain, small = str(folder / "plain.onnx"), str(folder / "int8.onnx")
    torch.onnx.export(
        Plain(module, size, both).eval(),
        (torch.ones(64, 40, dtype=torch.long),),
        plain,
        input_names=["ids"],
        dynamic_axes={"ids": {0: "texts", 1: "words"}},
        dynamo=False,
        opset_version=17,
    )
    quantize_dynamic(plain, small, weight_type=QuantType.QInt8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1

    def way(path: str) -> Way:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda ids: np.asarray(session.run(None, {"ids": ids})[0])

    return {"onnx_fp32": way(plain), "onnx_int8": way(small)}


def measure(both: bool, size: int, number: int, repeats: int) -> dict[str, Any]:
    """Reviews a second of every way, in turn; flips against torch in single precision."""
    part = trained("lstm", both, {"epochs": 2.0, "width": size, "size": size, "rate": 3e-3})
    assert part.module is not None
    part.module.eval()
    ids = part.vocabulary.encode(Documents(texts(number, 2)[0]).coded, LONGEST)
    batches = [padded(ids, places)[0] for places in by_length(ids.lengths, slack=0.0)]
    half = copy.deepcopy(part.module).to(torch.bfloat16)
    with tempfile.TemporaryDirectory(prefix="benchmark-int8-") as name:
        ways = {
            "torch_fp32": of_module(part.module),
            "torch_bf16": of_module(half),
            "torch_int8": of_module(quantised(part.module)),
            **onnx_ways(part.module, size, both, Path(name)),
        }
        best = dict.fromkeys(ways, float("inf"))
        logits = {}
        for _ in range(repeats):
            for each, way in ways.items():
                began = time.perf_counter()
                logits[each] = np.concatenate([way(some) for some in batches])
                best[each] = min(best[each], time.perf_counter() - began)
        # One in eight batches, review by review.
        some = batches[::8]
        alone = {
            each: np.concatenate([way(row[np.newaxis]) for batch in some for row in batch])
            for each, way in ways.items()
        }
        together = {
            each: np.concatenate([way(batch) for batch in some]) for each, way in ways.items()
        }
    plain = logits["torch_fp32"].argmax(axis=1)
    return {
        each: {
            "reviews_per_second": round(number / best[each]),
            "over_torch_fp32": round(best["torch_fp32"] / best[each], 2),
            "flips_percent": round(100 * float((logits[each].argmax(axis=1) != plain).mean()), 3),
            "alone_or_together": {
                "reviews": len(alone[each]),
                "flips": int((alone[each].argmax(axis=1) != together[each].argmax(axis=1)).sum()),
                "largest_difference_of_a_probability": float(
                    f"{np.abs(_shares(alone[each]) - _shares(together[each])).max():.1g}"
                ),
            },
        }
        for each in ways
    }


def _shares(logits: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(log_softmax(logits)))


def main() -> None:
    """Two nets, every way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    show(
        {
            "bilstm_128": measure(True, 128, given.number, given.repeats),
            "lstm_64": measure(False, 64, given.number, given.repeats),
            **machine(),
        }
    )


if __name__ == "__main__":
    main()
