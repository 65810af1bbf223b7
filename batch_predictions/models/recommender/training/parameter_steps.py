"""Parameters of generators by steps: from the declared values up and down a scale, while it helps.

What is best differs by more between data sets than between models: on sparse pairs the graph filter
needs thirty times the weight that suits dense ratings (docs/quality.md). The steps are the same on
every machine, so that a training that is repeated gives the same model. They are taken where lists
hold only new items, on days or items before the hold-out, and only where there are enough users to
tell two settings apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

import numpy as np

from batch_predictions.models.common.bootstrap import Doubles, paired_difference
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.splits import Holdout
from batch_predictions.models.recommender.generators.registry import generators
from batch_predictions.models.recommender.training.trainer import RankerTrainer
from batch_predictions.models.recommender.training.tuning import ndcg_alone, validation_holdout

MIN_USERS = 1_000
"""With fewer, the difference of two settings is mostly chance, and the declared ones serve."""
MAX_USERS = 10_000
"""Users on which a setting is evaluated at most."""
PATIENCE = 2
"""Values in a row that are no better, before a direction is given up: ALS with too much
regularization recommends at random, and with a third of it still does."""
MAX_ROWS = 1_000_000
"""Of more rows, those of a sample of users are read."""


def choose_by_steps(
    interactions: Interactions, through: date, trainer: RankerTrainer
) -> RankerTrainer:
    """The trainer with the generators' parameters that do best before the hold-out.

    Args:
        interactions: rows; the days of the hold-out are not read.
        through: the last day that is known.
        trainer: its parameters are where the steps begin.
    """
    config = trainer.config
    if not config.exclude_seen:
        return trainer
    rows = _sampled(interactions.up_to(through), config.seed)
    holdout = validation_holdout(rows, through, config, MAX_USERS)
    if len(holdout.users) < MIN_USERS:
        return trainer
    params = {name: dict(values) for name, values in config.generator_params.items()}
    for name in trainer.generator_names(holdout.as_of):
        if generators()[name].scales:
            params[name] = _Search(name, params.get(name, {}), trainer, holdout).run()
    return replace(trainer, config=replace(config, generator_params=params))


def _sampled(rows: Interactions, seed: int) -> Interactions:
    """The rows of as many users, drawn at random, as have `MAX_ROWS` together."""
    if len(rows) <= MAX_ROWS:
        return rows
    order = np.random.default_rng(seed).permutation(len(rows.user_ids))
    counts = np.bincount(rows.users, minlength=len(rows.user_ids))
    is_drawn = np.zeros(len(rows.user_ids), dtype=bool)
    is_drawn[order[np.cumsum(counts[order]) <= MAX_ROWS]] = True
    return rows.filter(is_drawn[rows.users])


@dataclass
class _Search:
    """The steps of one generator.

    Attributes:
        name: the generator.
        overrides: its parameters that differ from the declared ones.
        trainer: fits it.
        holdout: evaluates it.
        tried: how many settings were fitted.
    """

    name: str
    overrides: dict[str, Any]
    trainer: RankerTrainer
    holdout: Holdout
    tried: int = 0

    def run(self) -> dict[str, Any]:
        """The parameters, with those of the generator's scales at their best step."""
        declared = generators()[self.name]
        start = asdict(declared.params(self.trainer.config.exclude_seen, self.overrides))
        best, current = {**self.overrides}, self._ndcg(self.overrides)
        first, self.tried = current, 1
        for parameter, scale in declared.scales.items():
            for steps in _both_ways(scale, start[parameter]):
                moved, ndcg = self._walk(parameter, steps, best, current)
                if moved is not None:
                    best, current = {**best, parameter: moved}, ndcg
                    break
        if self.trainer.progress:
            changed = [key for key in declared.scales if best.get(key, start[key]) != start[key]]
            shown = [f"{key} {best[key]:g}" for key in changed]
            self.trainer.progress(
                f"{self.name}: {self.tried} settings tried on {len(self.holdout.users):,} users: "
                f"NDCG@10 {first.mean():.4f} as declared, "
                + (f"{current.mean():.4f} with {', '.join(shown)}" if shown else "none is better")
            )
        return best

    def _walk(
        self, parameter: str, steps: Sequence[float], params: dict[str, Any], current: Doubles
    ) -> tuple[float | None, Doubles]:
        """The best value on the way, until `PATIENCE` values in a row are no better.

        Returns:
            The value, None if none is better, and the NDCG@10 with it.
        """
        best, failures = None, 0
        for value in steps:
            ndcg = self._ndcg({**params, parameter: value})
            self.tried += 1
            if _is_better(ndcg, current, self.trainer.config.seed):
                best, current, failures = value, ndcg, 0
            else:
                failures += 1
                if failures == PATIENCE:
                    break
        return best, current

    def _ndcg(self, overrides: dict[str, Any]) -> Doubles:
        return ndcg_alone(self.name, overrides, self.trainer, self.holdout)


def _is_better(ndcg: Doubles, current: Doubles, seed: int) -> bool:
    """Whether the mean is higher by more than one standard error of the paired difference.

    More is not asked for: of two settings that are hardly different, neither does harm.
    """
    gain = paired_difference(ndcg, current, seed)
    return gain.mean > (gain.upper - gain.lower) / 4


def _both_ways(scale: Sequence[float], start: float) -> list[list[float]]:
    """The values of a scale above a start, ascending, and those below it, descending."""
    above = [value for value in scale if value > start]
    below = [value for value in reversed(scale) if value < start]
    return [above, below]
