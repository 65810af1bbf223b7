"""One recurrent net for all series: a GRU reads the past, a small net forecasts every step.

The GRU passes a series once; its state at each day is an origin to learn from. Means are the recent
level × exp(net), counts scatter around them by a negative binomial distribution.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from batch_predictions.models.common.torch_threads import one_torch_thread
from batch_predictions.models.demand.base import Forecaster, impute
from batch_predictions.models.demand.features import (
    LEVEL,
    SMALL,
    Floats,
    build_features,
    rolling_mean,
)
from batch_predictions.models.demand.panel import Doubles, Integers, Panel

if TYPE_CHECKING:
    from batch_predictions.models.demand.forecasters.gru_net import Net

PART = 1000
PAST = 400
"""Columns that the GRU reads, at most."""
MOST_SERIES = 1500
"""Series that are learned from, at most."""
MOST_ROWS = 800_000
"""Rows of the design, at most: origins are thinned."""
SHARE = 8.0
"""A day counts at most so many times the recent mean as an input."""


class Gru(Forecaster):
    """Parameters: `hidden`, `steps` (of training), `batch`, `rate`, `horizon`, `seed`, `nets`."""

    kind: ClassVar[str] = "gru"

    def __init__(self, name: str | None = None, **params: Any) -> None:
        super().__init__(name, **params)
        self.nets: list[Any] = []
        self.arrays: dict[str, Any] = {}

    def fit(self, panel: Panel) -> Self:
        """Learns from random series and origins; the same seed gives the same net."""
        import torch

        from batch_predictions.models.demand.forecasters.gru_net import train

        self.params.setdefault("horizon", 2 * panel.period)
        self.params["covariates"] = sorted(panel.future_covariates)
        self.params["statics"] = sorted(panel.static)
        self.params["codes"] = [
            int(np.max(panel.static[name], initial=0)) + 2 for name in self.params["statics"]
        ]
        thin = max(1, -(-len(panel) // MOST_SERIES))
        some = panel.take(np.arange(0, len(panel), thin)) if thin > 1 else panel
        horizon = int(self.params["horizon"])
        last = max(some.columns - horizon, 1)
        first = min(6 * panel.period, last - 1)
        crowd = -(-len(some) * (last - first) * horizon // MOST_ROWS)
        every = max(int(self.params.get("every", 3)), crowd)
        origins = np.arange(last, first, -every)[::-1]
        made = build_features(some, list(origins), horizon)
        wanted = [n for n, each in enumerate(made.names) if each not in some.static]
        features = made.features[..., wanted]
        flat = features.reshape(-1, features.shape[-1])
        self.arrays = {"centre": flat.mean(axis=0), "width": flat.std(axis=0) + 1e-3}
        features -= self.arrays["centre"]
        features /= self.arrays["width"]
        past, cut = self._past(some)
        with one_torch_thread():
            for number in range(int(self.params.get("nets", 1))):
                torch.manual_seed(int(self.params.get("seed", 7)) + number)
                net = self._net(past.shape[2], features.shape[3])
                train(
                    net,
                    past,
                    origins - 1 - cut,
                    features,
                    self._codes(some),
                    made.level,
                    made.targets,
                    steps=int(self.params.get("steps", 350)),
                    batch=int(self.params.get("batch", 96)),
                    rate=float(self.params.get("rate", 4e-3)),
                    seed=int(self.params.get("seed", 7)) + number,
                )
                self.nets.append(net)
        return self

    def forecast(self, panel: Panel, horizon: int) -> Doubles:
        """From the state after the panel's last column."""
        import torch

        found = np.empty((len(panel), horizon))
        for start in range(0, len(panel), PART):
            rows = np.arange(start, min(start + PART, len(panel)))
            part = panel.take(rows)
            made = build_features(part, [part.columns], horizon)
            wanted = [n for n, each in enumerate(made.names) if each not in part.static]
            features = (made.features[..., wanted] - self.arrays["centre"]) / self.arrays["width"]
            past, cut = self._past(part)
            at = np.array([part.columns - 1 - cut])
            with torch.no_grad():
                means = [
                    net.means(past, at, features.astype(np.float32), self._codes(part), made.level)
                    for net in self.nets
                ]
            found[rows] = np.mean(means, axis=0)[:, 0]
        return impute(found)

    def _past(self, panel: Panel) -> tuple[Floats, int]:
        """What the GRU reads, (n, columns, inputs), and how many columns were left out."""
        cut = max(panel.columns - PAST, 0)
        level = rolling_mean(panel.y, LEVEL * panel.period)[:, :-1] + SMALL
        there = np.isfinite(panel.y)
        share = np.minimum(np.where(there, panel.y, 0.0) / level, SHARE)
        phases = panel.phases()
        season = 2 * np.pi * phases / panel.period
        shape = panel.y.shape
        parts = [np.log1p(share), np.sqrt(share), np.log(level), there.astype(float)]
        parts += [
            np.broadcast_to(f(k * season), shape) for k in (1, 2, 3) for f in (np.sin, np.cos)
        ]
        parts.append(np.broadcast_to(panel.flags(), shape))
        parts += [np.nan_to_num(panel.known(each), nan=0.0) for each in self.params["covariates"]]
        return np.stack([each[:, cut:] for each in parts], axis=2).astype(np.float32), cut

    def _codes(self, panel: Panel) -> Integers:
        """Codes of the static facts, 0 for unknown and for those that were not there."""
        found = np.zeros((len(panel), len(self.params["statics"])), np.int64)
        for n, (name, most) in enumerate(
            zip(self.params["statics"], self.params["codes"], strict=True)
        ):
            codes = np.asarray(panel.static[name], np.int64) + 1
            found[:, n] = np.where((codes > 0) & (codes < most), codes, 0)
        return found

    def _net(self, inputs: int, features: int) -> Net:
        from batch_predictions.models.demand.forecasters.gru_net import Net

        self.params["inputs"], self.params["features"] = inputs, features
        return Net(inputs, features, self.params["codes"], int(self.params.get("hidden", 40)))

    def _write(self, folder: Path) -> None:
        for name, values in self.arrays.items():
            np.save(folder / f"{name}.npy", values, allow_pickle=False)
        for number, net in enumerate(self.nets):
            for name, values in net.state_dict().items():
                at = folder / f"net_{number}.{name}.npy"
                np.save(at, values.cpu().numpy(), allow_pickle=False)

    def _read(self, folder: Path) -> None:
        import torch

        self.arrays = {
            name: np.load(folder / f"{name}.npy", allow_pickle=False)
            for name in ("centre", "width")
        }
        for number in range(int(self.params.get("nets", 1))):
            net = self._net(self.params["inputs"], self.params["features"])
            weights = {
                name: torch.from_numpy(np.load(folder / f"net_{number}.{name}.npy"))
                for name in net.state_dict()
            }
            net.load_state_dict(weights)
            self.nets.append(net)
