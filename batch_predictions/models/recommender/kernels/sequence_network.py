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
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding, embedding_bag, log_softmax

from batch_predictions.core.arrays import Floats

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
    """

    items: npt.NDArray[np.int64]
    indptr: npt.NDArray[np.int64]
    is_held_out: npt.NDArray[np.bool_]


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

    def forward(self, sequences: Tensor, item_vectors: Tensor) -> Tensor:
        """Queries after every place of padded sequences (b, l), (b, l, width)."""
        vectors = self.dropout(embedding(sequences, item_vectors, padding_idx=0))
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
        item (m, 3 d), `recurrent` (3 d, d), `recurrent_bias` (3 d,), `projection` (d, d),
        `projection_bias` (d,), `scale` (d,), `shift` (d,).
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
    windows, targets = _windows(data, length)
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
    for step, rows in zip(range(1, steps + 1), _batches(targets, batch, seed), strict=False):
        network.train()
        longest = int((targets[rows] > 0).sum(axis=1).max())
        sequences = torch.from_numpy(windows[rows, :longest]).to(device)
        following = torch.from_numpy(targets[rows, :longest]).to(device)
        is_known = following > 0
        vectors = network.item_vectors()
        queries = network(sequences, vectors)[is_known]
        loss = _loss(queries, following[is_known], vectors, network.bias, odds, sample)
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


def _loss(
    queries: Tensor, positives: Tensor, vectors: Tensor, bias: Tensor, odds: Tensor, sample: int
) -> Tensor:
    """Cross-entropy of the items that follow over all items, or over a sample of them.

    Args:
        queries: (t, d).
        positives: embeddings of the items that follow, (t,).
        vectors: of all embeddings, (m + 1, d).
        bias: of all embeddings, (m + 1,).
        odds: probability of each embedding to be sampled, (m + 1,).
        sample: number of items to compare with; 0: all.
    """
    if not sample:
        return cross_entropy(queries @ vectors[1:].T + bias[1:], positives - 1)
    negatives = torch.multinomial(odds, sample, replacement=True)
    # Of an item that is sampled often, each sample counts less.
    log_odds = torch.log(odds * sample + 1e-12)
    # The gradient of indexing by a tensor is added up in the order in which threads finish.
    positive_bias, negative_bias = (bias.index_select(0, i) for i in (positives, negatives))
    scores = (queries * embedding(positives, vectors)).sum(-1) + positive_bias - log_odds[positives]
    others = queries @ embedding(negatives, vectors).T + negative_bias - log_odds[negatives]
    others = others.masked_fill(negatives == positives[:, None], -torch.inf)
    return -log_softmax(torch.cat([scores[:, None], others], dim=1), dim=1)[:, 0].mean()


def _windows(
    data: SequenceData, length: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Windows of embeddings, padded at the end, and the embedding after each; (w, length)."""
    rows = []
    for user, held_out in enumerate(data.is_held_out):
        start, stop = data.indptr[user], data.indptr[user + 1] - held_out
        while stop - start > 1:
            rows.append((max(start, stop - length - 1), stop))
            stop -= length
    windows = np.zeros((len(rows), length), dtype=np.int64)
    targets = np.zeros((len(rows), length), dtype=np.int64)
    for row, (start, stop) in enumerate(rows):
        windows[row, : stop - start - 1] = data.items[start : stop - 1] + 1
        targets[row, : stop - start - 1] = data.items[start + 1 : stop] + 1
    return windows, targets


def _batches(
    targets: npt.NDArray[np.int64], batch: int, seed: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Rows of batches without end: of similar lengths, all rows before one comes again."""
    random, lengths = np.random.default_rng(seed), (targets > 0).sum(axis=1)
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
    total = 0.0
    with torch.inference_mode():
        vectors = network.item_vectors()
        for start in range(0, len(users), 256):
            chosen = users[start : start + 256]
            sequences = np.zeros((len(chosen), length), dtype=np.int64)
            lengths = np.minimum(data.indptr[chosen + 1] - 1 - data.indptr[chosen], length)
            for row, (user, number) in enumerate(zip(chosen, lengths, strict=True)):
                stop = data.indptr[user + 1] - 1
                sequences[row, :number] = data.items[stop - number : stop] + 1
            queries = network(torch.from_numpy(sequences).to(device), vectors)
            queries = queries[torch.arange(len(chosen)), torch.from_numpy(lengths - 1)]
            scores = queries @ vectors.T + network.bias
            scores[:, 0] = -torch.inf
            scores.scatter_(1, torch.from_numpy(sequences).to(device), -torch.inf)
            held_out = torch.from_numpy(data.items[data.indptr[chosen + 1] - 1] + 1).to(device)
            ranks = (scores > scores.gather(1, held_out[:, None])).sum(dim=1).cpu().numpy()
            total += float((1 / np.log2(ranks[ranks < 10] + 2)).sum())
    return total / max(len(users), 1)


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
            "recurrent": unit["weight_hh_l0"],
            "recurrent_bias": unit["bias_hh_l0"],
            "projection": network.projection.weight,
            "projection_bias": network.projection.bias,
            "scale": network.norm.weight,
            "shift": network.norm.bias,
        }
        return {name: tensor.numpy().copy() for name, tensor in tensors.items()}
