"""A trainer that does not compute again what an earlier training computed from equal rows.

The week after a training, its last day is the day before the hold-out: the generators that it
fitted to serve are those that the hold-out is evaluated with, its label windows are label windows
again, and the ranker that it trained to serve is the one that is evaluated. So a week fits one set
of generators in place of four, labels one window in place of three and trains one ranker in place
of two. After a corrected day, a changed attribute or parameter, or an upgrade, what depends on it
is computed again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from batch_predictions.models.common.training_cache import TrainingCache
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.splits import Holdout
from batch_predictions.models.recommender.generators.base import generators
from batch_predictions.models.recommender.generators.candidate_generation import GeneratorEnsemble
from batch_predictions.models.recommender.ranker.ranker_ensemble import RankerEnsemble
from batch_predictions.models.recommender.ranker.two_stage import TwoStageParams
from batch_predictions.models.recommender.training.dataset import RankingDataset
from batch_predictions.models.recommender.training.trainer import RankerTrainer, TrainedRanker

_GENERATORS, _RANKER = "generators.json", "ranker.json"


@dataclass(frozen=True)
class CachingTrainer(RankerTrainer):
    """A `RankerTrainer` that takes what earlier trainings computed from a cache.

    Attributes:
        cache: what earlier trainings computed.
    """

    cache: TrainingCache = field(default_factory=TrainingCache)

    @classmethod
    def of(cls, trainer: RankerTrainer, cache: TrainingCache | None = None) -> Self:
        """Builds a caching trainer; without a cache it has the trainer's own, or one in memory."""
        if cache is None:
            cache = trainer.cache if isinstance(trainer, cls) else TrainingCache()
        values = {entry.name: getattr(trainer, entry.name) for entry in fields(RankerTrainer)}
        return cls(**values, cache=cache)

    def begin_serving(self) -> None:
        """Restricts what is kept for the next week to the entries that are used from now on."""
        self.cache.mark_all_unused()

    def fit_generators(
        self, interactions: Interactions, as_of: date, names: Sequence[str] | None = None
    ) -> GeneratorEnsemble:
        """Fits the generators, or takes them from the cache; those given by name are fitted."""
        if names is not None:
            return super().fit_generators(interactions, as_of, names)
        key = self._key_of_generators(interactions, as_of)
        ensemble = self.cache.get(key, _load_generators)
        if ensemble is not None:
            self._report(f"generators through {as_of} are fitted")
            return ensemble
        ensemble = super().fit_generators(interactions, as_of)
        return self.cache.put(key, ensemble, _save_generators)

    def fit_ranker(
        self, datasets: Sequence[RankingDataset], origin: str | None = None
    ) -> TrainedRanker:
        """Fits the ranker, or takes it from the cache where it has that of equal datasets."""
        key = self.cache.key("ranker", [self.config, *datasets])
        trained = self.cache.get(key, _load_ranker)
        if trained is not None:
            self._report("the ranker of these datasets is trained")
            return trained
        return self.cache.put(key, super().fit_ranker(datasets, origin), _save_ranker)

    def label_window(self, holdout: Holdout) -> RankingDataset:
        """Labels the candidates of a window, or takes them from the cache where it is by time."""
        if holdout.split != "time":
            return self.build_dataset(holdout)
        key = self.cache.key("dataset", self._inputs_of_dataset(holdout))
        dataset = self.cache.get(key, RankingDataset.load)
        if dataset is not None:
            self._report(f"candidates of the days after {holdout.as_of} are labelled")
            return dataset
        # Generators that only this dataset needs are not kept.
        ensemble_key = self._key_of_generators(holdout.train, holdout.as_of)
        ensemble = self.cache.get(ensemble_key, _load_generators, mark_used=False)
        if ensemble is None:
            ensemble = super().fit_generators(holdout.train, holdout.as_of)
        return self.cache.put(key, self.build_dataset(holdout, ensemble), RankingDataset.save)

    def _key_of_generators(self, interactions: Interactions, as_of: date) -> str:
        rows = interactions.up_to(as_of, self.config.history_days)
        config = self.config
        names = self.generator_names(as_of)
        inputs = [rows, as_of, self._users_of(rows, as_of), names, self._attributes_of(rows, names)]
        parameters = [config.exclude_seen, config.max_items, config.generator_params]
        return self.cache.key("generators", [*inputs, *parameters])

    def _inputs_of_dataset(self, holdout: Holdout) -> list[object]:
        """Lists everything that `build_dataset` reads, without what only the ranker reads."""
        ranker: dict[str, Any] = {"ranker_seeds": None, "objectives": None, "linear_weight": None}
        config = replace(self.config, **ranker, ranker_params={}, threads=1)
        as_of = holdout.as_of
        items = _rows_of(self.side_information.items(), "item_id", holdout.train.item_ids)
        promotions = self.side_information.promotions(as_of)
        users = self._users_of(holdout.train, as_of)
        names = self.generator_names(as_of)
        return [holdout, config, self.user_share, names, users, items, promotions]

    def _users_of(self, rows: Interactions, as_of: date) -> pa.Table | None:
        return _rows_of(self.side_information.users(as_of), "user_id", rows.user_ids)

    def _attributes_of(self, rows: Interactions, names: Sequence[str]) -> pa.Table | None:
        """The attributes of the rows' items, where one of the generators learns from them."""
        declared = generators()
        if not any(declared[name].recommender_class.reads_attributes for name in names):
            return None
        return _rows_of(self.side_information.items(), "item_id", rows.item_ids)

    def _report(self, line: str) -> None:
        if self.progress:
            self.progress(f"{line}: taken from an earlier training")


def _rows_of(table: pa.Table | None, column: str, ids: pa.StringArray) -> pa.Table | None:
    """Selects the row of each id, nulls where there is none: other rows make no difference."""
    if table is None:
        return None
    return table.take(pc.index_in(ids, value_set=table[column].combine_chunks()))


def _save_generators(ensemble: GeneratorEnsemble, folder: Path) -> None:
    ensemble.save(folder)
    names = [generator.name for generator in ensemble.generators]
    (folder / _GENERATORS).write_text(json.dumps(names), encoding="utf-8")


def _load_generators(folder: Path) -> GeneratorEnsemble:
    names = json.loads((folder / _GENERATORS).read_text(encoding="utf-8"))
    return GeneratorEnsemble.load(folder, names)


def _save_ranker(trained: TrainedRanker, folder: Path) -> None:
    trained.ranker.save(folder)
    values = {"ranker": trained.ranker.to_json(), "params": asdict(trained.params)}
    (folder / _RANKER).write_text(json.dumps(values), encoding="utf-8")


def _load_ranker(folder: Path) -> TrainedRanker:
    values = json.loads((folder / _RANKER).read_text(encoding="utf-8"))
    ranker = RankerEnsemble.load(folder, values["ranker"])
    return TrainedRanker(ranker, TwoStageParams.from_json(values["params"]))
