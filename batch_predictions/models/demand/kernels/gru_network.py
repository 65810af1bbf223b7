"""The network of the GRU forecaster, and its training. Imports torch: import it in functions only.

Shapes: n series, t columns of the past, o origins, h steps of the horizon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from batch_predictions.core.arrays import Doubles, Floats, Int64s

EMBEDDING_SIZE = 4
ORIGINS_PER_STEP = 12
"""Origins of each series in a step of training."""


@dataclass(frozen=True)
class NetworkInputs:
    """Inputs of the GRU network: past values, and features of each step of the horizon.

    Attributes:
        past: (n, t, inputs).
        columns: last known column of the past at each origin, (o,).
        features: numeric features, (n, o, h, features).
        codes: category codes, (n, static features).
        level: recent means of the series, (n, o).
    """

    past: Floats
    columns: Int64s
    features: Floats
    codes: Int64s
    level: Doubles

    def take_origins(self, origins: npt.NDArray[np.bool_]) -> NetworkInputs:
        """Returns the inputs of the origins that a mask (o,) marks."""
        return NetworkInputs(
            self.past,
            self.columns[origins],
            self.features[:, origins],
            self.codes,
            self.level[:, origins],
        )


class GRUNetwork(nn.Module):
    """GRU over the past, embeddings of category codes, two dense layers for each step."""

    def __init__(self, inputs: int, features: int, codes: Sequence[int], hidden: int) -> None:
        """Creates the layers; weights are random, the last layer is 0.

        Args:
            inputs: values that the GRU reads in a column.
            features: numeric features of a step of the horizon.
            codes: number of codes of each static feature.
            hidden: units of the GRU.
        """
        super().__init__()
        self.gru = nn.GRU(inputs, hidden, batch_first=True)
        embeddings = [nn.Embedding(count, EMBEDDING_SIZE) for count in codes]
        self.embeddings = nn.ModuleList(embeddings)
        width = hidden + features + EMBEDDING_SIZE * len(codes)
        self.first = nn.Linear(width, 2 * hidden)
        self.second = nn.Linear(2 * hidden, hidden)
        self.last = nn.Linear(hidden, 2)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        for embedding in embeddings:
            nn.init.normal_(embedding.weight, std=0.05)

    def forward(
        self, past: Tensor, columns: Tensor, features: Tensor, codes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Computes log(mean / level) and the logarithm of the dispersion, (n, o, h) each.

        The arguments are tensors of the fields of `NetworkInputs`.
        """
        states, _ = self.gru(past)
        origin_states = states[:, columns]
        n, origins, horizon, _ = features.shape
        expanded = origin_states[:, :, None].expand(n, origins, horizon, origin_states.shape[-1])
        parts = [expanded, features]
        for number, embedding in enumerate(self.embeddings):
            embedded = embedding(codes[:, number])[:, None, None]
            parts.append(embedded.expand(n, origins, horizon, EMBEDDING_SIZE))
        hidden = torch.relu(self.first(torch.cat(parts, dim=-1)))
        output = self.last(torch.relu(self.second(hidden)))
        return output[..., 0].clamp(-4, 4), output[..., 1].clamp(-5, 4)

    def means(self, inputs: NetworkInputs) -> Doubles:
        """Forecasts the means of all series, origins and steps, (n, o, h)."""
        device = next(self.parameters()).device
        arrays = (inputs.past, inputs.columns, inputs.features, inputs.codes)
        log_ratio, _ = self(*(_to_tensor(array, device) for array in arrays))
        return np.asarray(inputs.level[:, :, None] * np.exp(log_ratio.double().cpu().numpy()))


def train(
    network: GRUNetwork,
    inputs: NetworkInputs,
    targets: Doubles,
    *,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
) -> None:
    """Minimises the negative log-likelihood of the targets, on a GPU where there is one.

    Args:
        network: trained in place; ends on the CPU.
        inputs: the training data; origins with a negative column are left out.
        targets: (n, o, h), nan where unknown.
        steps: steps of training.
        batch: series of a step.
        rate: highest learning rate of the one-cycle schedule.
        seed: seed of the choice of series and origins.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network.to(device)
    random = np.random.default_rng(seed)
    is_usable = inputs.columns >= 0
    inputs, targets = inputs.take_origins(is_usable), targets[:, is_usable]
    optimiser = torch.optim.Adam(network.parameters(), lr=rate, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=steps, pct_start=0.15
    )
    for _ in range(steps):
        rows = random.permutation(len(inputs.past))[:batch]
        origins = np.sort(random.permutation(len(inputs.columns))[:ORIGINS_PER_STEP])
        # The GRU need not read beyond the newest origin of the step.
        end = int(inputs.columns[origins[-1]]) + 1
        cells = np.ix_(rows, origins)
        arrays = (
            inputs.past[rows, :end],
            inputs.columns[origins],
            inputs.features[cells],
            inputs.codes[rows],
            inputs.level[cells].astype(np.float32),
            targets[cells].astype(np.float32),
        )
        loss = _mean_loss(network, *(_to_tensor(array, device) for array in arrays))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    network.to("cpu").eval()


def _mean_loss(
    network: GRUNetwork,
    past: Tensor,
    columns: Tensor,
    features: Tensor,
    codes: Tensor,
    level: Tensor,
    y: Tensor,
) -> Tensor:
    """Mean negative log-likelihood of the targets y that are known."""
    log_ratio, log_dispersion = network(past, columns, features.float(), codes)
    is_known = torch.isfinite(y)
    loss = negative_binomial(
        torch.where(is_known, y, 0.0), level.log()[:, :, None] + log_ratio, log_dispersion
    )
    return (loss * is_known).sum() / is_known.sum().clamp(min=1)


def negative_binomial(y: Tensor, log_mean: Tensor, log_dispersion: Tensor) -> Tensor:
    """Negative log-likelihood of counts y: the variance is mean + dispersion × mean²."""
    shape = torch.exp(-log_dispersion)
    log_total = torch.logaddexp(torch.log(shape), log_mean)
    return (
        torch.lgamma(shape)
        + torch.lgamma(y + 1)
        - torch.lgamma(y + shape)
        - shape * (torch.log(shape) - log_total)
        - y * (log_mean - log_total)
    )


def _to_tensor(array: npt.NDArray[np.generic], device: torch.device | str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
