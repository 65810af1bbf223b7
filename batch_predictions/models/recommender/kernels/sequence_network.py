"""The network of the sequence generator, and its training, in torch: import it in functions only.

A gated recurrent unit (Hidasi et al. 2016, "Session-based Recommendations with Recurrent Neural
Networks") reads the vectors of a user's items; the last item's vector plus the projected state is
multiplied with the vectors of all items. The loss is the cross-entropy of the next item over the
whole catalogue or, of many items, over a sample with the correction of Yi et al. (2019,
"Sampling-Bias-Corrected Neural Modeling"), as Klenitskiy and Vasilev (2023, "Turning Dross Into
Gold Loss") and Petrov and Macdonald (2023, "gSASRec") found to decide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding, embedding_bag, log_softmax

from batch_predictions.core.arrays import Floats

Scalar = TypeVar("Scalar", bound=np.generic)

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

THREADS = 2
"""Threads of a training, whatever the machine has: sums of floats depend on their number."""
FULL_SOFTMAX_ITEMS = 4_000
"""Items up to which the loss is over all of them."""
WARM_UP_STEPS = 200
"""Steps in which the learning rate rises to its highest."""
EVALUATIONS = 20
"""Evaluations on the held-out items during a training."""
PATIENCE = 4
"""Evaluations without a gain after which a training ends."""


@dataclass(frozen=True)
class SequenceData:
    """Items of users in the order of time.

    Attributes:
        items: of all users, one user after the other, 0 to m - 1, (n,).
        indptr: first item of each user, (users + 1,).
        is_held_out: users whose last item is not learned from, but decides when to stop, (users,).
        strengths: by which the items' vectors, and the loss of predicting the items, are
            multiplied, (n,); None: all are 1.
    """

    items: npt.NDArray[np.int64]
    indptr: npt.NDArray[np.int64]
    is_held_out: npt.NDArray[np.bool_]
    strengths: Floats | None = None


class SequenceNetwork(nn.Module):
    """Queries after each item of sequences, and the vectors of items.

    Args:
        items: number of items; item j is embedding j + 1, and 0 pads.
        width: of all vectors.
        dropout: share of the inputs and of the projected state that is left out in training.
        tags: weights of each item's tags, items x tags; None: no tags are known.
    """

    def __init__(
        self, items: int, width: int, dropout: float, tags: csr_matrix | None = None
    ) -> None:
        super().__init__()
        self.vectors = nn.Embedding(items + 1, width, padding_idx=0)
        nn.init.normal_(self.vectors.weight, std=0.02)
        self.bias = nn.Parameter(torch.zeros(items + 1))
        self.unit = nn.GRU(width, width, batch_first=True)
        self.projection = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.tag_vectors: nn.Embedding | None = None
        if tags is not None:
            self.tag_vectors = nn.Embedding(tags.shape[1], width)
            nn.init.normal_(self.tag_vectors.weight, std=0.02)
            # The pad, which comes first, has no tags.
            starts = np.append(0, tags.indptr[:-1]).astype(np.int64)
            for name, values in (
                ("tag_starts", starts),
                ("tag_ids", tags.indices.astype(np.int64)),
                ("tag_weights", tags.data.astype(np.float32)),
            ):
                self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def item_vectors(self) -> Tensor:
        """Each item's own vector plus the weighted vectors of its tags, (items + 1, width)."""
        own = self.vectors.weight
        if self.tag_vectors is None:
            return own
        return own + embedding_bag(
            self.get_buffer("tag_ids"),
            self.tag_vectors.weight,
            self.get_buffer("tag_starts"),
            mode="sum",
            per_sample_weights=self.get_buffer("tag_weights"),
        )

    def forward(
        self, sequences: Tensor, item_vectors: Tensor, strengths: Tensor | None = None
    ) -> Tensor:
        """Queries after every place of padded sequences with their strengths (b, l), (b, l, d)."""
        vectors = embedding(sequences, item_vectors, padding_idx=0)
        if strengths is not None:
            vectors = vectors * strengths[..., None]
        vectors = self.dropout(vectors)
        states, _ = self.unit(vectors)
        queries: Tensor = self.norm(vectors + self.dropout(self.projection(states)))
        return queries


def fit_network(
    data: SequenceData,
    items: int,
    tags: csr_matrix | None = None,
    *,
    width: int,
    dropout: float,
    length: int,
    batch: int,
    negatives: int,
    rate: float,
    steps: int,
    seed: int,
) -> dict[str, Floats]:
    """Trains the network, on a GPU where there is one.

    Equal data gives equal bytes on processors of one kind; a GPU adds up gradients in any order.

    Args:
        data: sequences, of which at least one has two items to learn from.
        items: number of items, m.
        tags: weights of each item's tags, items x tags; None: no tags are known.
        width: of the vectors.
        dropout: in [0, 1).
        length: items of a window that the network reads at most.
        batch: windows of a step.
        negatives: items that a sampled loss compares with.
        rate: highest learning rate; it falls to zero by a half cosine.
        steps: of training at most.
        seed: of weights, samples and dropout.

    Returns:
        Weights: `vectors` with those of tags added (m, d), `bias` (m,), `inputs` of the gates by
        item (m, 3 d) with their `input_bias` (3 d,), `recurrent` (3 d, d), `recurrent_bias` (3 d,),
        `projection` (d, d), `projection_bias` (d,), `scale` (d,), `shift` (d,).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = SequenceNetwork(items, width, dropout, tags)
            device = "cuda" if torch.cuda.is_available() else "cpu"
            best = _train(network.to(device), data, length, batch, negatives, rate, steps, seed)
            return _weights(network, best)
    finally:
        torch.set_num_threads(threads)


def _train(
    network: SequenceNetwork,
    data: SequenceData,
    length: int,
    batch: int,
    negatives: int,
    rate: float,
    steps: int,
    seed: int,
) -> dict[str, Tensor]:
    """Trains in place. Returns the weights of the best evaluation."""
    items, device = network.vectors.num_embeddings - 1, network.bias.device
    bounds = _window_bounds(data, length)
    windows = _windows(data.items + 1, bounds, length + 1)
    strengths = None if data.strengths is None else _windows(data.strengths, bounds, length + 1)
    counts = np.bincount(data.items, minlength=items) + 1.0
    odds = torch.from_numpy(np.append(0.0, counts / counts.sum())).float().to(device)
    sample = 0 if items <= FULL_SOFTMAX_ITEMS else negatives
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=rate, weight_decay=0.0, betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: (
            min(1.0, (step + 1) / WARM_UP_STEPS) * (0.5 + 0.5 * np.cos(np.pi * step / steps))
        ),
    )
    best, best_score, without_gain = _copy(network), -1.0, 0
    if not len(windows):
        # No user has two items.
        return best
    every = max(1, steps // EVALUATIONS)
    lengths = (windows > 0).sum(axis=1)
    for step, rows in zip(range(1, steps + 1), _batches(lengths, batch, seed), strict=False):
        network.train()
        longest = lengths[rows].max()
        window = torch.from_numpy(windows[rows, :longest]).to(device)
        sequences, following = window[:, :-1], window[:, 1:]
        is_known = following > 0
        vectors = network.item_vectors()
        scale = weights = None
        if strengths is not None:
            scale = torch.from_numpy(strengths[rows, :longest]).to(device)
            scale, weights = scale[:, :-1], scale[:, 1:][is_known]
        queries = network(sequences, vectors, scale)[is_known]
        losses = _losses(queries, following[is_known], vectors, network.bias, odds, sample)
        loss = losses.mean() if weights is None else (losses * weights).sum() / weights.sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % every and step < steps:
            continue
        score = _evaluate(network, data, length)
        without_gain += 1
        if score > best_score:
            best, best_score, without_gain = _copy(network), score, 0
        elif without_gain >= PATIENCE:
            break
    return best


def _losses(
    queries: Tensor, positives: Tensor, vectors: Tensor, bias: Tensor, odds: Tensor, sample: int
) -> Tensor:
    """Cross-entropy of each item that follows over all items, or over a sample of them, (t,).

    Args:
        queries: (t, d).
        positives: embeddings of the items that follow, (t,).
        vectors: of all embeddings, (m + 1, d).
        bias: of all embeddings, (m + 1,).
        odds: probability of each embedding to be sampled, (m + 1,).
        sample: number of items to compare with; 0: all.
    """
    if not sample:
        scores = queries @ vectors[1:].T + bias[1:]
        return cross_entropy(scores, positives - 1, reduction="none")
    negatives = torch.multinomial(odds, sample, replacement=True)
    # Of an item that is sampled often, each sample counts less.
    log_odds = torch.log(odds * sample + 1e-12)
    # The gradient of indexing by a tensor is added up in the order in which threads finish.
    positive_bias, negative_bias = (bias.index_select(0, i) for i in (positives, negatives))
    scores = (queries * embedding(positives, vectors)).sum(-1) + positive_bias - log_odds[positives]
    others = queries @ embedding(negatives, vectors).T + negative_bias - log_odds[negatives]
    others = others.masked_fill(negatives == positives[:, None], -torch.inf)
    return -log_softmax(torch.cat([scores[:, None], others], dim=1), dim=1)[:, 0]


def _window_bounds(data: SequenceData, length: int) -> list[tuple[int, int]]:
    """First item of each window, and the one after its last; windows share an item at most."""
    bounds = []
    for user, held_out in enumerate(data.is_held_out):
        start, stop = data.indptr[user], data.indptr[user + 1] - held_out
        while stop - start > 1:
            bounds.append((max(start, stop - length - 1), stop))
            stop -= length
    return bounds


def _windows(
    values: npt.NDArray[Scalar], bounds: list[tuple[int, int]], length: int
) -> npt.NDArray[Scalar]:
    """Values of each window's items, zeros at the end, (w, length)."""
    windows = np.zeros((len(bounds), length), dtype=values.dtype)
    for row, (start, stop) in enumerate(bounds):
        windows[row, : stop - start] = values[start:stop]
    return windows


def _batches(
    lengths: npt.NDArray[np.int64], batch: int, seed: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Rows of batches without end: of similar lengths, all rows before one comes again."""
    random = np.random.default_rng(seed)
    while True:
        order = np.argsort(lengths + random.random(len(lengths)), kind="stable")
        starts = np.arange(0, len(order), batch)
        for start in random.permutation(starts):
            yield order[start : start + batch]


def _evaluate(network: SequenceNetwork, data: SequenceData, length: int) -> float:
    """NDCG@10 of the held-out items among all that their users have not taken."""
    network.eval()
    device = network.bias.device
    users = np.flatnonzero(data.is_held_out)
    held_out = data.indptr[users + 1] - 1
    bounds = list(zip(np.maximum(held_out - length, data.indptr[users]), held_out, strict=True))
    sequences = _windows(data.items + 1, bounds, length)
    strengths = None if data.strengths is None else _windows(data.strengths, bounds, length)
    weights = np.ones(len(users)) if data.strengths is None else data.strengths[held_out]
    gains = np.zeros(len(users))
    with torch.inference_mode():
        vectors = network.item_vectors()
        for start in range(0, len(users), 256):
            rows = slice(start, start + 256)
            items = torch.from_numpy(sequences[rows]).to(device)
            scale = None if strengths is None else torch.from_numpy(strengths[rows]).to(device)
            last = (items > 0).sum(dim=1) - 1
            queries = network(items, vectors, scale)
            queries = queries[torch.arange(len(items), device=device), last]
            scores = queries @ vectors.T + network.bias
            scores[:, 0] = -torch.inf
            scores.scatter_(1, items, -torch.inf)
            hidden = torch.from_numpy(data.items[held_out[rows]] + 1).to(device)
            ranks = (scores > scores.gather(1, hidden[:, None])).sum(dim=1).cpu().numpy()
            gains[rows] = np.where(ranks < 10, 1 / np.log2(ranks + 2), 0)
    return float(np.average(gains, weights=weights)) if len(users) else 0.0


def _copy(network: SequenceNetwork) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _weights(network: SequenceNetwork, best: dict[str, Tensor]) -> dict[str, Floats]:
    network.load_state_dict(best)
    network.to("cpu").eval()
    with torch.inference_mode():
        unit = dict(network.unit.named_parameters())
        vectors = network.item_vectors()[1:]
        tensors = {
            "vectors": vectors,
            "bias": network.bias[1:],
            "inputs": vectors @ unit["weight_ih_l0"].T + unit["bias_ih_l0"],
            "input_bias": unit["bias_ih_l0"],
            "recurrent": unit["weight_hh_l0"],
            "recurrent_bias": unit["bias_hh_l0"],
            "projection": network.projection.weight,
            "projection_bias": network.projection.bias,
            "scale": network.norm.weight,
            "shift": network.norm.bias,
        }
        return {name: tensor.numpy().copy() for name, tensor in tensors.items()}
