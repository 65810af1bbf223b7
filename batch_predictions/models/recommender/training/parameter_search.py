"""Parameters within a budget: successive halving over the generators, then the ranker's members.

What is best differs by more between data sets than between models: on sparse pairs the graph filter
needs thirty times the weight that suits dense ratings (recommendations.md). Settings of a generator
are compared on the rows of a small sample of users, the best third on those of a larger one, and so
on (Jamieson and Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter
Optimization"). The declared values and those of the last training are always compared to the end,
and the declared ones stay where the best is not better by more than chance.

The budget is in minutes as estimated from the number of rows, not as measured, so that a training
that is repeated, on whatever machine, tries the same settings and gives the same model. Only days
or items before the hold-out are read, and only where there are enough users to tell two settings
apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from itertools import product
from typing import Any, TypeAlias

import numpy as np

from batch_predictions.core.arrays import Doubles
from batch_predictions.models.common.intervals import paired_difference
from batch_predictions.models.common.ranking_metrics import NDCG_20
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.splits import Holdout
from batch_predictions.models.recommender.generators.base import Generator, generators
from batch_predictions.models.recommender.generators.candidate_generation import GeneratorParams
from batch_predictions.models.recommender.training.generator_search import (
    choose_generators,
    without_generators,
)
from batch_predictions.models.recommender.training.ranker_search import choose_members
from batch_predictions.models.recommender.training.ranking_evaluation import (
    metric_alone,
    validation_holdout,
)
from batch_predictions.models.recommender.training.trainer import RankerTrainer

MIN_USERS = 1_000
"""With fewer, the difference of two settings is mostly chance, and the declared ones serve."""
MAX_USERS = 5_000
"""Users on which a setting of a generator is evaluated at most."""
MAX_RANKER_USERS = 10_000
"""Users of whom the ranker's members are compared on those with a taken candidate."""
MAX_ROWS = 1_000_000
"""Of more rows, those of a sample of users are read."""
RUNGS = (0.25, 0.5, 1.0)
"""Shares of the users in each round."""
KEPT = 1 / 3
"""Share of the settings that reach the next round."""
SECONDS, SECONDS_PER_ROW = 1.0, 25e-6
"""Estimated time to fit and evaluate one setting on one core (docs/figures/recommendations.md)."""
MIN_MINUTES, MAX_MINUTES, MINUTES_PER_MILLION_ROWS = 1.0, 15.0, 12.0
"""The default budget."""

Setting: TypeAlias = Mapping[str, float]
"""Values of a generator's scales."""


@dataclass(frozen=True)
class Trial:
    """A setting of a generator or the ranker that was evaluated in a round of a search.

    Attributes:
        name: the generator, or `ranker`.
        setting: its values.
        users: how many were evaluated.
        ndcg: mean NDCG@20.
        minutes: of the budget, spent until then.
        is_declared: whether the values are the declared ones.
    """

    name: str
    setting: Mapping[str, Any]
    users: int
    ndcg: float
    minutes: float
    is_declared: bool


@dataclass
class ParameterSearch:
    """The result of a parameter search: the trials, and the trainer with the chosen parameters.

    Attributes:
        trainer: with the chosen parameters.
        trials: in order; empty where nothing was searched.
        budget_minutes: what could be spent.
        why: why nothing was searched, else empty.
    """

    trainer: RankerTrainer
    trials: list[Trial] = field(default_factory=list)
    budget_minutes: float = 0.0
    why: str = ""

    def summary(self) -> dict[str, object]:
        """The budget and the trials, as JSON can hold them."""
        trials = [asdict(trial) for trial in self.trials]
        return {"budget_minutes": self.budget_minutes, "trials": trials, "why": self.why}


def default_minutes(rows: int) -> float:
    """The budget for a number of rows, minutes."""
    minutes = rows / 1e6 * MINUTES_PER_MILLION_ROWS
    return float(np.clip(minutes, MIN_MINUTES, MAX_MINUTES))


def search_parameters(
    interactions: Interactions,
    through: date,
    trainer: RankerTrainer,
    minutes: float | None = None,
    previous: GeneratorParams | None = None,
) -> ParameterSearch:
    """The trainer with the parameters that do best before the hold-out, within a budget.

    Args:
        interactions: rows; the days of the hold-out are not read.
        through: the last day that is known.
        trainer: its parameters are the declared ones here.
        minutes: the budget; None: by the number of rows.
        previous: what the last training chose, by generator; always among the tried.
    """
    config = trainer.config
    if not config.exclude_seen:
        return ParameterSearch(trainer, why="lists may repeat items, whose parameters are declared")
    rows = _sample_users(interactions.up_to(through), 1.0, config.seed)
    holdout = validation_holdout(rows, through, config, MAX_USERS)
    if len(holdout.users) < MIN_USERS:
        why = (
            f"{len(holdout.users):,} users can be evaluated before the hold-out, and {MIN_USERS:,} "
            "are needed to tell settings apart"
        )
        if config.must_gain:
            why += f"; {', '.join(config.must_gain)}, which must show a gain, is left out"
        return ParameterSearch(without_generators(trainer, config.must_gain), why=why)
    budget = default_minutes(len(interactions)) if minutes is None else minutes
    search = ParameterSearch(trainer, budget_minutes=budget)
    names = [name for name in trainer.generator_names(holdout.as_of) if generators()[name].scales]
    rounds = _rounds(rows, through, trainer, holdout)
    for number, name in enumerate(names):
        spent = search.trials[-1].minutes if search.trials else 0.0
        halving = _SuccessiveHalving(name, trainer, rounds, spent)
        share = (budget - spent) / (len(names) - number)
        halving.run(share, (previous or {}).get(name, {}))
        search.trials += halving.trials
        params = {**search.trainer.config.generator_params, name: halving.best}
        search.trainer = replace(
            search.trainer, config=replace(search.trainer.config, generator_params=params)
        )
    _choose_ensemble(search, validation_holdout(rows, through, config, MAX_RANKER_USERS))
    return search


def _choose_ensemble(search: ParameterSearch, holdout: Holdout) -> None:
    """Leaves out generators that add nothing, and chooses the ranker's members."""
    trainer, spent = search.trainer, search.trials[-1].minutes if search.trials else 0.0
    fitted = trainer.fit_generators(holdout.train, holdout.as_of)
    ensemble, gains = choose_generators(trainer, holdout, fitted)
    for name, gain, ndcg_with, ndcg_without in gains:
        search.trials += [
            Trial(name, {"used": False}, gain.n, ndcg_without, spent, False),
            Trial(name, {"used": True}, gain.n, ndcg_with, spent, True),
        ]
    trainer = without_generators(trainer, [gain.name for gain in gains if not gain.is_used])
    config, compared = choose_members(trainer, trainer.build_dataset(holdout, ensemble))
    search.trials += [
        Trial("ranker", setting, users, ndcg, spent, not number)
        for number, (setting, users, ndcg) in enumerate(compared)
    ]
    search.trainer = replace(trainer, config=config)


def _sample_users(rows: Interactions, share: float, seed: int) -> Interactions:
    """The rows of a share of the users, drawn at random, `share * MAX_ROWS` rows at most."""
    limit = min(share * len(rows), share * MAX_ROWS)
    if len(rows) <= limit:
        return rows
    order = np.random.default_rng(seed).permutation(len(rows.user_ids))
    counts = np.bincount(rows.users, minlength=len(rows.user_ids))
    is_drawn = np.zeros(len(rows.user_ids), dtype=bool)
    is_drawn[order[np.cumsum(counts[order]) <= limit]] = True
    return rows.filter(is_drawn[rows.users])


def _rounds(
    rows: Interactions, through: date, trainer: RankerTrainer, holdout: Holdout
) -> list[Holdout]:
    """The hold-out of each round, the whole one last; those of too few users are left out."""
    config = trainer.config
    smaller = [
        validation_holdout(_sample_users(rows, share, config.seed), through, config, MAX_USERS)
        for share in RUNGS[:-1]
    ]
    return [*(part for part in smaller if len(part.users) >= MIN_USERS), holdout]


@dataclass
class _SuccessiveHalving:
    """Successive halving over the parameters of one generator.

    Attributes:
        name: the generator.
        trainer: fits it.
        rounds: fit and evaluate it.
        minutes: of the budget, spent.
        trials: what was tried.
        best: its parameters.
    """

    name: str
    trainer: RankerTrainer
    rounds: Sequence[Holdout]
    minutes: float
    trials: list[Trial] = field(default_factory=list)
    best: dict[str, Any] = field(default_factory=dict)

    def run(self, minutes: float, previous: Mapping[str, object]) -> None:
        """Compares as many settings as the minutes allow."""
        declared = generators()[self.name]
        overrides = dict(self.trainer.config.generator_params.get(self.name, {}))
        start = asdict(declared.params(self.trainer.config.exclude_seen, overrides))
        first = {parameter: start[parameter] for parameter in declared.scales}
        last = {**first, **{key: previous[key] for key in first if key in previous}}
        always = [first] if last == first else [first, last]
        settings = list(_nearest_first(declared, first, always))[: self._affordable(minutes)]
        ndcgs: list[Doubles] = []
        for number, holdout in enumerate(self.rounds):
            ndcgs = [self._evaluate(setting, first, overrides, holdout) for setting in settings]
            if number < len(self.rounds) - 1:
                order = np.argsort([-values.mean() for values in ndcgs], kind="stable")
                kept = {*order[: max(1, round(len(settings) * KEPT))], *range(len(always))}
                settings = [settings[index] for index in sorted(kept)]
        best = int(np.argmax([values.mean() for values in ndcgs]))
        gain = paired_difference(ndcgs[best], ndcgs[0], self.trainer.config.seed)
        # More than a standard error is not asked for: of two settings that are hardly different,
        # neither does harm.
        if not gain.exceeds_standard_error:
            best = 0
        changed = {key: value for key, value in settings[best].items() if value != first[key]}
        self.best = {**overrides, **changed}
        self._report(ndcgs, best, changed)

    def _affordable(self, minutes: float) -> int:
        """Settings that a first round may begin with, so that all rounds stay within the minutes.

        At least the declared values and two others are compared.
        """
        one = sum(
            _minutes_per_setting(len(holdout.train)) * KEPT**number
            for number, holdout in enumerate(self.rounds)
        )
        return max(3, int(minutes / one))

    def _evaluate(
        self, setting: Setting, first: Setting, overrides: Mapping[str, object], holdout: Holdout
    ) -> Doubles:
        values = metric_alone(self.name, {**overrides, **setting}, self.trainer, holdout, NDCG_20)
        self.minutes += _minutes_per_setting(len(holdout.train))
        self.trials.append(
            Trial(
                self.name,
                dict(setting),
                len(values),
                float(values.mean()),
                self.minutes,
                setting == first,
            )
        )
        return values

    def _report(self, ndcgs: Sequence[Doubles], best: int, changed: Setting) -> None:
        if not self.trainer.progress:
            return
        tried = len({tuple(trial.setting.items()) for trial in self.trials})
        shown = ", ".join(f"{key} {value:g}" for key, value in changed.items())
        self.trainer.progress(
            f"{self.name}: {tried} settings tried, the best on {len(ndcgs[0]):,} users: NDCG@20 "
            f"{ndcgs[0].mean():.4f} as declared, "
            + (f"{ndcgs[best].mean():.4f} with {shown}" if changed else "none is better")
        )


def _minutes_per_setting(rows: int) -> float:
    """Estimated time to fit and evaluate one setting on so many rows, minutes."""
    return (SECONDS + SECONDS_PER_ROW * rows) / 60


def _nearest_first(
    declared: Generator, first: Setting, always: Sequence[Setting]
) -> Iterator[Setting]:
    """The given settings, then all combinations of the scales, by distance from the first."""
    yield from always
    names = list(declared.scales)

    def steps(setting: Setting) -> int:
        return sum(
            abs(
                int(np.searchsorted(declared.scales[name], setting[name]))
                - int(np.searchsorted(declared.scales[name], first[name]))
            )
            for name in names
        )

    grid = [
        dict(zip(names, values, strict=True))
        for values in product(*(declared.scales[name] for name in names))
    ]
    yield from sorted((setting for setting in grid if setting not in always), key=steps)
