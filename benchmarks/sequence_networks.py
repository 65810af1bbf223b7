"""Three networks over sequences on one budget: the one that serves, and two that might.

    python benchmarks/sequence_networks.py ../shared/data/sequences/video/interactions.parquet

A gated recurrent unit, a causal transformer (two blocks of SASRec, Kang and McAuley 2018) and two
blocks of linear recurrent units (Orvieto et al. 2023; LRURec, Yue et al. 2024) are trained alike
but for dropout: vectors of items, loss, batches, schedule, early stopping, and the seconds of each.
Each user's last item is hidden and ranked among all items that the user has not taken. Prints a
line of JSON for each.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from batch_predictions.models.recommender.generators.sequence import SequenceParams, _held_out
from batch_predictions.models.recommender.kernels import sequence_network
from batch_predictions.models.recommender.kernels.sequence_network import (
    SequenceData,
    SequenceNetwork,
    _evaluate,
    _train,
)

PARAMS = SequenceParams()
NETWORKS = ("gated unit", "transformer", "linear recurrent units")
BLOCKS = 2
BLOCK_DROPOUT = 0.2
"""Of the blocks of the two other networks, which learn less with that of the gated unit."""
TRIAL_STEPS = 150
"""Steps by which the seconds of one are measured."""


class CausalTransformer(nn.Module):
    """Blocks of attention to earlier places, and positions."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.positions = nn.Embedding(PARAMS.length, width)
        nn.init.normal_(self.positions.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(
            width, 2, 2 * width, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, BLOCKS, enable_nested_tensor=False)

    def forward(self, vectors: Tensor) -> tuple[Tensor, None]:
        """States after every place of padded vectors (b, l, d), (b, l, d)."""
        length = vectors.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=vectors.device)
        places = self.positions(torch.arange(length, device=vectors.device))
        return self.blocks(vectors + places, mask=mask, is_causal=True), None


class LinearRecurrence(nn.Module):
    """A block of diagonal complex recurrence, whose sums over places are one product."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        radius = torch.sqrt(torch.rand(width) * (0.999**2 - 0.8**2) + 0.8**2)
        self.log_decay = nn.Parameter(torch.log(-torch.log(radius)))
        self.angle = nn.Parameter(torch.rand(width) * 2 * torch.pi)
        self.inputs = nn.Linear(width, 2 * width)
        self.outputs = nn.Linear(2 * width, width)
        self.norm, self.norm_after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, vectors: Tensor) -> Tensor:
        """Outputs after every place, (b, l, d)."""
        length, width = vectors.shape[1], vectors.shape[2]
        decay = torch.exp(self.log_decay)
        steps = torch.arange(length, device=vectors.device)
        gaps = (steps[:, None] - steps[None, :]).clamp(min=0).float()[..., None]
        is_past = (steps[:, None] >= steps[None, :])[..., None]
        size = torch.exp(-decay * gaps) * is_past * torch.sqrt(1 - torch.exp(-2 * decay))
        real, imaginary = size * torch.cos(self.angle * gaps), size * torch.sin(self.angle * gaps)
        x, y = self.inputs(self.norm(vectors)).split(width, dim=-1)
        sums = [
            torch.einsum("tsd,bsd->btd", kernel, part)
            for kernel, part in ((real, x), (imaginary, y), (imaginary, x), (real, y))
        ]
        states = torch.cat([sums[0] - sums[1], sums[2] + sums[3]], dim=-1)
        vectors = vectors + self.dropout(self.outputs(states))
        after: Tensor = vectors + self.dropout(self.feed(self.norm_after(vectors)))
        return after


class LinearRecurrentUnits(nn.Module):
    """Blocks of linear recurrence."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(LinearRecurrence(width, dropout) for _ in range(BLOCKS)))

    def forward(self, vectors: Tensor) -> tuple[Tensor, None]:
        """States after every place, (b, l, d)."""
        return self.blocks(vectors), None


def build(name: str, items: int, dropout: float) -> SequenceNetwork:
    """The network of a name over the vectors of items."""
    network: Any = SequenceNetwork(items, PARAMS.width, dropout)
    if name == "transformer":
        network.unit = CausalTransformer(PARAMS.width, BLOCK_DROPOUT)
    elif name == "linear recurrent units":
        network.unit = LinearRecurrentUnits(PARAMS.width, BLOCK_DROPOUT)
    built: SequenceNetwork = network
    return built


def read_sequences(path: Path) -> tuple[SequenceData, SequenceData, int]:
    """Sequences without each user's last item, those with it as the held-out one, and items."""
    rows = pd.read_parquet(path).sort_values(["user_id", "occurred_at"], kind="stable")
    items = pd.factorize(rows["item_id"])[0].astype(np.int64)
    lengths = rows.groupby("user_id", sort=True).size().to_numpy()
    indptr = np.append(0, np.cumsum(lengths))
    is_last = np.zeros(len(items), dtype=bool)
    is_last[indptr[1:] - 1] = True
    shorter = np.append(0, np.cumsum(lengths - 1))
    is_held_out = _held_out((lengths - 1).astype(np.int64), PARAMS.seed)
    known = SequenceData(items[~is_last], shorter, is_held_out)
    last = SequenceData(items, indptr, np.ones(len(lengths), dtype=bool))
    return known, last, int(items.max()) + 1


def train(network: SequenceNetwork, data: SequenceData, steps: int, seed: int) -> float:
    """Trains in place, and keeps the best weights; the seconds that it took."""
    start = time.perf_counter()
    best = _train(
        network,
        data,
        PARAMS.length,
        PARAMS.batch,
        PARAMS.negatives,
        PARAMS.learning_rate,
        steps,
        seed,
    )
    network.load_state_dict(best)
    return time.perf_counter() - start


def measure(
    name: str, data: SequenceData, last: SequenceData, items: int, args: argparse.Namespace
) -> dict[str, Any]:
    """Quality, seconds and size of one network."""
    torch.manual_seed(args.seed)
    evaluations, sequence_network.EVALUATIONS = sequence_network.EVALUATIONS, 1
    idle = SequenceData(data.items, data.indptr, np.zeros_like(data.is_held_out))
    seconds = train(build(name, items, args.dropout), idle, TRIAL_STEPS, args.seed) / TRIAL_STEPS
    sequence_network.EVALUATIONS = evaluations
    steps = round(60 * args.minutes / seconds)
    torch.manual_seed(args.seed)
    network = build(name, items, args.dropout)
    trained = train(network, data, steps, args.seed)
    ndcg = _evaluate(network, last, PARAMS.length)
    network.eval()
    sample = torch.from_numpy(np.random.default_rng(0).integers(1, items, (256, PARAMS.length)))
    with torch.inference_mode():
        vectors = network.item_vectors()
        start = time.perf_counter()
        for _ in range(10):
            network(sample, vectors)
        whole = (time.perf_counter() - start) / 10 / len(sample)
    own = sum(
        p.numel() for n, p in network.named_parameters() if n not in ("vectors.weight", "bias")
    )
    state = {"gated unit": 4 * PARAMS.width, "linear recurrent units": 8 * PARAMS.width * BLOCKS}
    return {
        "network": name,
        "ndcg@10": round(ndcg, 4),
        "seconds_a_step": round(seconds, 4),
        "steps_at_most": steps,
        "training_seconds": round(trained),
        "microseconds_a_user_from_scratch": round(1e6 * whole),
        "parameters_besides_items": own,
        "state_bytes_a_user": state.get(name),
    }


def main() -> None:
    """Measures all three, one after another."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("path", type=Path, help="Parquet: user_id, item_id, occurred_at")
    parser.add_argument("--minutes", type=float, default=3.0, help="of training, each")
    parser.add_argument("--dropout", type=float, default=PARAMS.dropout)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    args = parser.parse_args()
    torch.set_num_threads(min(sequence_network.THREADS, os.cpu_count() or 1))
    data, last, items = read_sequences(args.path)
    for name in args.networks:
        print(json.dumps(measure(name, data, last, items, args)), flush=True)


if __name__ == "__main__":
    main()
