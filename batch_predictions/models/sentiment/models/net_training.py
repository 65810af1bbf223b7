"""Training of a net: Adam, with early stopping or with the mean of the last epochs' weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from batch_predictions.core.arrays import Floats
from batch_predictions.models.common.torch_cpu import has_native_bf16
from batch_predictions.models.sentiment.models.base import ModelTraining
from batch_predictions.models.sentiment.text.documents import pad, shuffled_batches
from batch_predictions.models.sentiment.text.labelled_reviews import Labels
from batch_predictions.models.sentiment.text.token_ids import RaggedArray

if TYPE_CHECKING:
    from torch import Tensor, nn, optim

    Weights: TypeAlias = dict[str, Tensor]

MIN_IMPROVEMENT = 1e-4
"""Decrease of the held-out loss that counts as an improvement."""
CLIP_NORM = 5.0


@dataclass(frozen=True)
class NetParameters:
    """Parameters of nets. Where the default is None, it depends on the net or on the vectors.

    Attributes:
        epochs: largest number of epochs.
        patience: epochs without improvement of the held-out loss that end the training.
        mean_from: instead of early stopping, all epochs are trained, and the weights after this
            epoch and after each later one are averaged (Izmailov et al. 2018).
        rate: learning rate.
        words_rate: learning rate of word vectors, as a multiple of `rate`; None: 0.15 for
            pretrained ones, else 2.
        dropout: probability of dropout.
        width: components of a word vector that is not pretrained.
        size: hidden size; None: 100 (CNN) or 64.
        vector_width: largest number of components of pretrained vectors; None: 384 of an encoder's
            folder, 192 of a text file.
        vector_scale: mean length of pretrained vectors.
        bf16: whether to train in bfloat16 where the processor has it; None: with pretrained
            vectors.
    """

    epochs: int = 8
    patience: int = 2
    mean_from: int | None = None
    rate: float = 2e-3
    words_rate: float | None = None
    dropout: float = 0.5
    width: int = 64
    size: int | None = None
    vector_width: int | None = None
    vector_scale: float = 1.0
    bf16: bool | None = None


class EarlyStopping:
    """Remembers the weights of the epoch with the lowest held-out loss.

    Args:
        patience: epochs without improvement after which training stops.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best_loss = np.inf
        self.best_weights: Weights | None = None
        self.epochs_without_improvement = 0

    def update(self, weights: Weights, loss: float) -> bool:
        """Takes the weights and the held-out loss of an epoch; returns whether to stop."""
        if loss < self.best_loss - MIN_IMPROVEMENT:
            self.best_loss, self.best_weights = loss, weights
            self.epochs_without_improvement = 0
            return False
        self.epochs_without_improvement += 1
        return self.epochs_without_improvement == self.patience


class WeightAverage:
    """Running mean of the weights after several epochs."""

    def __init__(self) -> None:
        self.mean: Weights | None = None
        self.count = 0

    def update(self, weights: Weights) -> Weights:
        """Adds the weights of one more epoch and returns the new mean."""
        self.count += 1
        mean = self.mean
        self.mean = {
            name: value if mean is None else mean[name] + (value - mean[name]) / self.count
            for name, value in weights.items()
        }
        return self.mean


def train_net(
    module: nn.Module,
    ids: RaggedArray,
    labels: Labels,
    *,
    score_held_out: Callable[[], Floats],
    held_out_labels: Labels,
    parameters: NetParameters,
    name: str,
    training: ModelTraining,
) -> None:
    """Trains a module in place and leaves it with the selected weights.

    Args:
        module: see `NetArchitecture.build_module`.
        ids: token ids of the training texts.
        labels: their classes.
        score_held_out: the module's logits of the held-out texts, with its weights of that moment.
        held_out_labels: their classes.
        parameters: of the training.
        name: of the net, in log lines.
        training: seed, and whether vectors are pretrained.
    """
    import torch
    from torch.nn.functional import cross_entropy

    truth, held_out_truth = torch.from_numpy(labels), torch.from_numpy(held_out_labels)
    dense = [p for n, p in module.named_parameters() if not n.startswith("embedding")]
    optimisers = _build_optimisers(module, dense, parameters, training.vectors is not None)
    use_bf16 = training.vectors is not None if parameters.bf16 is None else parameters.bf16
    use_bf16 = use_bf16 and has_native_bf16()
    random = np.random.default_rng(training.seed)
    batch_size = 64 if len(ids) > 2_000 else 16
    stopping, average = EarlyStopping(parameters.patience), WeightAverage()
    started = time.perf_counter()
    for epoch in range(1, parameters.epochs + 1):
        module.train()
        batches = shuffled_batches(ids.lengths, batch_size, random)
        _train_epoch(module, ids, truth, batches, optimisers, dense, use_bf16)
        weights = {key: value.clone() for key, value in module.state_dict().items()}
        if parameters.mean_from is not None and epoch >= parameters.mean_from:
            module.load_state_dict(average.update(weights))
        loss = float(cross_entropy(torch.from_numpy(score_held_out()), held_out_truth))
        training.progress(
            f"{name}: epoch {epoch}, held-out loss {loss:.4f}, "
            f"{time.perf_counter() - started:.1f} s"
        )
        if parameters.mean_from is not None:
            # Training continues from the last weights; the mean is only measured.
            module.load_state_dict(weights)
        elif stopping.update(weights, loss):
            break
    selected = stopping.best_weights if parameters.mean_from is None else average.mean
    if selected is not None:
        module.load_state_dict(selected)


def _build_optimisers(
    module: nn.Module, dense: Sequence[nn.Parameter], parameters: NetParameters, pretrained: bool
) -> list[optim.Optimizer]:
    """Builds an optimiser for the word vectors and one for the other weights.

    The gradients of the word vectors are sparse.
    """
    import torch

    words_rate = parameters.words_rate
    if words_rate is None:
        # Pretrained vectors need small steps.
        words_rate = 0.15 if pretrained else 2.0
    vectors = module.get_parameter("embedding.weight")
    return [
        torch.optim.Adam(dense, lr=parameters.rate),
        torch.optim.SparseAdam([vectors], lr=parameters.rate * words_rate),
    ]


def _train_epoch(
    module: nn.Module,
    ids: RaggedArray,
    truth: Tensor,
    batches: Iterable[np.ndarray],
    optimisers: Sequence[optim.Optimizer],
    dense: Sequence[nn.Parameter],
    use_bf16: bool,
) -> None:
    """Trains one step per batch, on the mean cross-entropy; gradients of `dense` are clipped."""
    import torch
    from torch.nn.functional import cross_entropy

    for batch in batches:
        padded, lengths = pad(ids, batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=use_bf16):
            logits = module(torch.from_numpy(padded), torch.from_numpy(lengths))
        loss = cross_entropy(logits.float(), truth[batch])
        for optimiser in optimisers:
            optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(dense, CLIP_NORM)
        for optimiser in optimisers:
            optimiser.step()
