"""The net of `gru`, and its training. Imports torch: import it only in functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from batch_predictions.models.demand.features import Floats
from batch_predictions.models.demand.panel import Doubles, Integers

EMBEDDED = 4
ORIGINS = 12
"""Origins of each series in a step of training."""


class Net(nn.Module):
    """GRU over the past, embeddings of static facts, two layers over each step's features."""

    def __init__(self, inputs: int, features: int, codes: Sequence[int], hidden: int) -> None:
        super().__init__()
        self.gru = nn.GRU(inputs, hidden, batch_first=True)
        embeddings = [nn.Embedding(each, EMBEDDED) for each in codes]
        self.embeddings = nn.ModuleList(embeddings)
        width = hidden + features + EMBEDDED * len(codes)
        self.first = nn.Linear(width, 2 * hidden)
        self.second = nn.Linear(2 * hidden, hidden)
        self.last = nn.Linear(hidden, 2)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        for each in embeddings:
            nn.init.normal_(each.weight, std=0.05)

    def forward(self, past: Any, at: Any, features: Any, codes: Any) -> Any:
        """Log share of the level and log dispersion, (n, origins, horizon) each."""
        states, _ = self.gru(past)
        state = states[:, at]
        n, origins, horizon, _ = features.shape
        parts = [state[:, :, None].expand(n, origins, horizon, state.shape[-1]), features]
        for k, each in enumerate(self.embeddings):
            fact = each(codes[:, k])[:, None, None]
            parts.append(fact.expand(n, origins, horizon, EMBEDDED))
        hidden = torch.relu(self.first(torch.cat(parts, dim=-1)))
        found = self.last(torch.relu(self.second(hidden)))
        return found[..., 0].clamp(-4, 4), found[..., 1].clamp(-5, 4)

    def means(
        self, past: Floats, at: Integers, features: Floats, codes: Integers, level: Doubles
    ) -> Doubles:
        """Means at some columns of the past, (n, origins, horizon)."""
        where = next(self.parameters()).device
        given = [
            torch.from_numpy(np.ascontiguousarray(each)).to(where)
            for each in (past, at, features, codes)
        ]
        share, _ = self(*given)
        return np.asarray(level[:, :, None] * np.exp(share.double().cpu().numpy()))


def train(
    net: Net,
    past: Floats,
    at: Integers,
    features: Floats,
    codes: Integers,
    level: Doubles,
    targets: Doubles,
    *,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
) -> None:
    """Minimises the negative binomial's negative log-likelihood, on a GPU where there is one."""
    where = "cuda" if torch.cuda.is_available() else "cpu"
    net.to(where)
    random = np.random.default_rng(seed)
    usable = at >= 0
    at, features = at[usable], features[:, usable]
    level, targets = level[:, usable], targets[:, usable]
    optimiser = torch.optim.Adam(net.parameters(), lr=rate, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=steps, pct_start=0.15
    )
    for _ in range(steps):
        rows = random.permutation(len(past))[:batch]
        picks = np.sort(random.permutation(len(at))[:ORIGINS])
        # The past beyond the newest origin of the step is not needed.
        end = int(at[picks[-1]]) + 1
        given = (
            past[rows, :end],
            at[picks],
            features[np.ix_(rows, picks)],
            codes[rows],
            level[np.ix_(rows, picks)].astype(np.float32),
            targets[np.ix_(rows, picks)].astype(np.float32),
        )
        x, places, f, c, mean, y = (
            torch.from_numpy(np.ascontiguousarray(g)).to(where) for g in given
        )
        share, spread = net(x, places, f.float(), c)
        there = torch.isfinite(y)
        loss = negative_binomial(torch.where(there, y, 0.0), mean.log()[:, :, None] + share, spread)
        total = (loss * there).sum() / there.sum().clamp(min=1)
        optimiser.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    net.to("cpu").eval()


def negative_binomial(y: Any, log_mean: Any, log_dispersion: Any) -> Any:
    """Negative log-likelihood: variance = mean + dispersion × mean²."""
    shape = torch.exp(-log_dispersion)
    both = torch.logaddexp(torch.log(shape), log_mean)
    return (
        torch.lgamma(shape)
        + torch.lgamma(y + 1)
        - torch.lgamma(y + shape)
        - shape * (torch.log(shape) - both)
        - y * (log_mean - both)
    )
