"""Ranking datasets: labelled candidates of a label window's users."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from batch_predictions.core.arrays import Floats
from batch_predictions.models.recommender.data.dense_scores import user_batches
from batch_predictions.models.recommender.data.interactions import positions_in
from batch_predictions.models.recommender.data.item_features import ItemFeatures
from batch_predictions.models.recommender.data.splits import Holdout
from batch_predictions.models.recommender.features.candidate_features import FeatureColumn
from batch_predictions.models.recommender.features.table import build_feature_table
from batch_predictions.models.recommender.generators.candidate_generation import GeneratorEnsemble

_FEATURES, _LABELS, _SIZES = "features.parquet", "labels.npy", "sizes.npy"
_COLUMNS = "columns.json"


@dataclass(frozen=True)
class RankingDataset:
    """Candidates with labels, user by user.

    Attributes:
        features: a row per candidate, (rows, f).
        labels: 1 where the user took the candidate in the window, (rows,).
        sizes: candidates of each user, (users,).
        columns: of the features.
    """

    features: Floats
    labels: npt.NDArray[np.int8]
    sizes: npt.NDArray[np.int64]
    columns: list[FeatureColumn]

    @property
    def users(self) -> int:
        """Number of users who have a taken candidate."""
        return len(self.sizes)

    def save(self, folder: Path) -> None:
        """Writes Parquet, .npy files and a text file; features keep their bits."""
        names = [column.name for column in self.columns]
        table = pa.table(list(self.features.T), names=names)
        # Half the bytes of the arrays. A dictionary would merge nans of different bits.
        pq.write_table(
            table,
            folder / _FEATURES,
            compression="zstd",
            compression_level=1,
            use_dictionary=False,
            use_byte_stream_split=True,
            write_statistics=False,
        )
        np.save(folder / _LABELS, self.labels, allow_pickle=False)
        np.save(folder / _SIZES, self.sizes, allow_pickle=False)
        text = json.dumps([asdict(column) for column in self.columns])
        (folder / _COLUMNS).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        table = pq.read_table(folder / _FEATURES)
        features = np.empty(table.shape, dtype=np.float32)
        for place, column in enumerate(table.columns):
            features[:, place] = column.to_numpy()
        columns = json.loads((folder / _COLUMNS).read_text(encoding="utf-8"))
        return cls(
            features,
            np.load(folder / _LABELS, allow_pickle=False),
            np.load(folder / _SIZES, allow_pickle=False),
            [FeatureColumn(**column) for column in columns],
        )

    @classmethod
    def concat(cls, parts: Sequence[RankingDataset]) -> Self:
        """Puts datasets one after the other; nan for columns that one lacks."""
        columns = {column.name: column for part in parts for column in part.columns}
        return cls(
            np.concatenate([part.with_columns(list(columns.values())) for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.sizes for part in parts]),
            list(columns.values()),
        )

    def take_lists(self, lists: npt.NDArray[np.bool_]) -> RankingDataset:
        """Selects the lists of some of the users, given as a mask, (users,)."""
        rows = np.repeat(lists, self.sizes)
        return RankingDataset(
            self.features[rows], self.labels[rows], self.sizes[lists], self.columns
        )

    def with_columns(self, columns: Sequence[FeatureColumn]) -> Floats:
        """Orders the features as the given columns; nan for those that the dataset lacks."""
        if self.columns == list(columns):
            return self.features
        place = {column.name: index for index, column in enumerate(self.columns)}
        features = np.full((len(self.features), len(columns)), np.nan, dtype=np.float32)
        for index, column in enumerate(columns):
            if column.name in place:
                features[:, index] = self.features[:, place[column.name]]
        return features


def build_dataset(
    holdout: Holdout,
    ensemble: GeneratorEnsemble,
    item_features: ItemFeatures,
    users: pa.Table | None,
    candidates_per_generator: int,
    max_users: int,
    seed: int,
) -> RankingDataset:
    """The candidates of a hold-out's users, labelled by what they took.

    Users none of whose candidates was taken are left out: they teach the ranker nothing.

    Args:
        holdout: users and their relevant items.
        ensemble: fitted on `holdout.train`.
        item_features: of the ensemble's items, as of the cut.
        users: demographic traits as of the cut, where known.
        candidates_per_generator: items that each candidate source proposes.
        max_users: of a larger hold-out, users are drawn until about so many have a taken candidate.
        seed: of the draw.
    """
    block_size = max_users if len(holdout.users) <= max_users else max(256, max_users // 4)
    parts: list[RankingDataset] = []
    for block in holdout.blocks(block_size, seed):
        parts += _label_candidates(block, ensemble, item_features, users, candidates_per_generator)
        if sum(part.users for part in parts) >= max_users:
            break
    return RankingDataset.concat(parts)


def _label_candidates(
    holdout: Holdout,
    ensemble: GeneratorEnsemble,
    item_features: ItemFeatures,
    users: pa.Table | None,
    candidates_per_generator: int,
) -> Iterator[RankingDataset]:
    """The datasets of batches of users."""
    histories = holdout.histories(ensemble.items, users)
    to_holdout = positions_in(ensemble.items, holdout.item_ids)
    for start, _, batch in user_batches(histories, ensemble.dense_scores_per_user):
        candidates = ensemble.propose(
            batch, item_features, candidates_per_generator, holdout.masks_seen, None
        )
        is_candidate = candidates.is_candidate
        items = np.where(is_candidate, to_holdout[candidates.positions], -1)
        is_taken = holdout.hits(start, items)
        has_taken = is_taken.any(axis=1)
        table, columns = build_feature_table(candidates)
        yield RankingDataset(
            table[np.repeat(has_taken, candidates.sizes)],
            is_taken[has_taken][is_candidate[has_taken]].astype(np.int8),
            candidates.sizes[has_taken],
            columns,
        )
