"""Parameters by search, on a window before the hold-out, so that the hold-out stays unseen.

Each generator is tuned alone on the validation window's NDCG@10, then the ranker on the same window
with datasets of windows before it (Optuna's TPE: Akiba et al. 2019, "Optuna: A Next-generation
Hyperparameter Optimization Framework").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from batch_predictions.models.common.bootstrap import Doubles
from batch_predictions.models.common.ranking_metrics import NDCG
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.splits import MAX_USERS, Holdout, hold_out
from batch_predictions.models.recommender.generators.generator_registry import generators
from batch_predictions.models.recommender.ranker.gbdt_ranker import LIGHTGBM_PARAMS
from batch_predictions.models.recommender.ranker.two_stage import TwoStageRecommender
from batch_predictions.models.recommender.training.config import TwoStageConfig
from batch_predictions.models.recommender.training.ranking_evaluation import evaluate
from batch_predictions.models.recommender.training.trainer import RankerTrainer

if TYPE_CHECKING:
    import optuna

SearchSpace = Callable[["optuna.Trial"], dict[str, Any]]

GENERATOR_SPACES: dict[str, SearchSpace] = {
    "als": lambda trial: {
        "regularization": trial.suggest_float("regularization", 1.0, 200.0, log=True),
        "alpha": trial.suggest_float("alpha", 0.1, 40.0, log=True),
    },
    "ease": lambda trial: {"l2": trial.suggest_float("l2", 3.0, 1000.0, log=True)},
    "graph_filter": lambda trial: {
        "weight": trial.suggest_float("weight", 0.01, 3.0, log=True),
        "factors": trial.suggest_int("factors", 8, 128, log=True),
    },
    "item_neighbours": lambda trial: {
        "newest_days": trial.suggest_int("newest_days", 1, 90, log=True)
    },
    "current_neighbours": lambda trial: {
        "target_half_life_days": trial.suggest_int("target_half_life_days", 3, 90, log=True)
    },
    "sequence_ease": lambda trial: {"l2": trial.suggest_float("l2", 200.0, 20_000.0, log=True)},
    "own_history": lambda trial: {
        "half_life_days": trial.suggest_int("half_life_days", 20, 200, log=True)
    },
}


def ranker_space(trial: optuna.Trial) -> dict[str, Any]:
    """LightGBM's parameters, the same for all objectives; leaves are fixed by objective."""
    return {
        "rounds": trial.suggest_int("rounds", 40, 100),
        "learning_rate": trial.suggest_float("learning_rate", 0.04, 0.2, log=True),
        "min_data_in_leaf": trial.suggest_int("min_data_in_leaf", 20, 500, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.2, 1.0),
        "lambda_l2": trial.suggest_float("lambda_l2", 1.0, 100.0, log=True),
        "lambdarank_truncation_level": trial.suggest_int("lambdarank_truncation_level", 10, 40),
    }


def tune(
    interactions: Interactions, through: date, trainer: RankerTrainer, trials: int
) -> RankerTrainer:
    """Returns the trainer with the best parameters of `trials` trials, half of them the ranker's.

    The days of the hold-out, the last `window_days`, are not read. Where the days before it have no
    users to evaluate, the trainer is returned unchanged.

    Args:
        interactions: rows, of which those after `through` are ignored.
        through: last day of the hold-out.
        trainer: with the parameters to start from.
        trials: number of settings to try, over generators and ranker.
    """
    config = trainer.config
    holdout = validation_holdout(interactions.up_to(through), through, config)
    if not len(holdout.users):
        return trainer
    names = [name for name in trainer.generator_names(holdout.as_of) if name in GENERATOR_SPACES]
    ranker_trials = (trials + 1) // 2
    params = {name: dict(values) for name, values in config.generator_params.items()}
    for index, name in enumerate(names):
        generator_trials = (trials - ranker_trials + index) // len(names)
        if generator_trials:
            best = _tune_generator(name, generator_trials, trainer, holdout)
            params[name] = {**params.get(name, {}), **best}
    trainer = replace(trainer, config=replace(config, generator_params=params))
    ranker_params = _tune_ranker(ranker_trials, trainer, holdout)
    return replace(trainer, config=replace(trainer.config, ranker_params=ranker_params))


def validation_holdout(
    rows: Interactions, through: date, config: TwoStageConfig, max_users: int = MAX_USERS
) -> Holdout:
    """A hold-out before that of the evaluation, whose days are not read.

    Where all rows share one date, other items than those of the evaluation are hidden.

    Args:
        rows: up to `through`.
        through: the last day that is known.
        config: length of the window.
        max_users: users evaluated at most.
    """
    has_times = not rows.has_single_date
    end = through - timedelta(days=config.window_days) if has_times else through
    return hold_out(
        rows.up_to(end) if has_times else rows,
        through=end,
        holdout_days=config.window_days,
        exclude_seen=config.exclude_seen,
        seed=config.seed + 2,
        history_days=config.history_days,
        max_users=max_users,
    )


def metric_alone(
    name: str,
    overrides: Mapping[str, Any],
    trainer: RankerTrainer,
    holdout: Holdout,
    metric: str = NDCG,
) -> Doubles:
    """A metric of every user of a hold-out for a generator alone, (n,).

    Args:
        name: the generator.
        overrides: of its declared parameters.
        trainer: fits it.
        holdout: fits and evaluates it.
        metric: of `ranking_metrics`.
    """
    params = {**trainer.config.generator_params, name: overrides}
    config = replace(trainer.config, generator_params=params)
    fitting = replace(trainer, config=config, progress=None)
    model = fitting.fit_generators(holdout.train, holdout.as_of, [name]).generators[0].model
    item_features = trainer.item_features(holdout.train, holdout.as_of, model.items)
    return evaluate(model, holdout, item_features).per_user[metric]


def _tune_generator(
    name: str, trials: int, trainer: RankerTrainer, holdout: Holdout
) -> dict[str, Any]:
    """A generator's best parameters, evaluated alone."""
    config = trainer.config
    overrides = config.generator_params.get(name, {})

    def objective(trial: optuna.Trial) -> float:
        values = {**overrides, **GENERATOR_SPACES[name](trial)}
        return float(metric_alone(name, values, trainer, holdout).mean())

    defaults = asdict(generators()[name].params(config.exclude_seen, overrides))
    return _best_params(objective, trials, trainer, name, defaults)


def _tune_ranker(trials: int, trainer: RankerTrainer, holdout: Holdout) -> dict[str, Any]:
    """The ranker's best parameters, over fixed generators and datasets."""
    config = trainer.config
    ensemble = trainer.fit_generators(holdout.train, holdout.as_of)
    item_features = trainer.item_features(holdout.train, holdout.as_of, ensemble.items)
    users = trainer.side_information.users(holdout.as_of)
    datasets = trainer.build_datasets(holdout.train, holdout.as_of)
    if not any(dataset.users for dataset in datasets):
        return dict(config.ranker_params)

    def objective(trial: optuna.Trial) -> float:
        params = {**config.ranker_params, **ranker_space(trial)}
        trial_trainer = replace(
            trainer, config=replace(config, ranker_params=params), progress=None
        )
        trained = trial_trainer.fit_ranker(datasets)
        model = TwoStageRecommender(ensemble, trained.ranker, trained.params)
        return float(evaluate(model, holdout, item_features, users).per_user[NDCG].mean())

    defaults = {**LIGHTGBM_PARAMS, **config.ranker_params}
    best = _best_params(objective, trials, trainer, "ranker", defaults)
    return {**config.ranker_params, **best}


def _best_params(
    objective: Callable[[optuna.Trial], float],
    trials: int,
    trainer: RankerTrainer,
    name: str,
    defaults: Mapping[str, Any],
) -> dict[str, Any]:
    """The best parameters found; the defaults are tried first, so the result is never worse."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=trainer.config.seed)
    )
    study.enqueue_trial(dict(defaults))
    study.optimize(objective, n_trials=trials)
    if trainer.progress:
        trainer.progress(
            f"tuned {name} in {trials} trials: NDCG@10 {study.best_value:.4f}, "
            f"{study.trials[0].value:.4f} with the defaults, by {study.best_params}"
        )
    return dict(study.best_params)
