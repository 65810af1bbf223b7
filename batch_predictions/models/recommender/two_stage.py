"""Two stages: generators propose, a ranker decides.

Candidates of several generators are ranked by gradient-boosted trees, LambdaRank (Burges 2010,
"From RankNet to LambdaRank to LambdaMART") and cross-entropy over the list together, and by a
straight line, over each generator's score and rank and over what is known of user, item and both
(`pairs`). The ranker learns from past windows: see `lessons`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch_predictions.models.recommender.base import (
    ITEMS,
    MANIFEST,
    Floats,
    Positions,
    Ranked,
    Recommender,
    in_batches,
)
from batch_predictions.models.recommender.candidate_generation import DECLARED, Bundle
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFacts
from batch_predictions.models.recommender.features.candidates import Group
from batch_predictions.models.recommender.features.table import table as feature_table
from batch_predictions.models.recommender.ranker.ranker_ensemble import Mixed

DESCRIBED = "described.parquet"


@dataclass(frozen=True)
class Reasoned(Ranked):
    """A ranking that can say what moved its scores: `features` (rows of `table`, f) of the ranked
    candidates, what each had in the straight line's margins (`straight`, like them; None: there is
    no such line), and for each place of `positions` its row, -1 where there is none."""

    features: Floats
    straight: Floats | None
    rows: Positions


class TwoStage(Recommender):
    """A bundle of generators and a ranker of their candidates."""

    kind = "two_stage"

    def __init__(
        self,
        bundle: Bundle,
        ranker: Mixed,
        params: dict[str, Any],
        described: pa.Table | None = None,
    ) -> None:
        """`ranker` ranks; `params` hold `each`, the number of candidates per generator, `groups`,
        name and group of each feature, and whatever was chosen; `described` says what items are
        (see `ItemTraits.from_table`)."""
        super().__init__("two_stage", bundle.items, params, {})
        self.bundle = bundle
        self.ranker = ranker
        self.described = described
        self.groups: list[tuple[str, Group]] = [(name, group) for name, group in params["groups"]]

    @classmethod
    def fit(cls, interactions: Interactions, as_of: date, **params: Any) -> Self:
        """Learn from past windows of the rows: the parameters are those of `lessons.Course`."""
        from batch_predictions.models.recommender.training.trainer import Course

        course = Course(**params)
        ranker = course.ranker(course.past(interactions, as_of))
        bundle = course.bundle(interactions, as_of)
        return cls(bundle, ranker.mixed, ranker.params, course.beside.items())

    def rank(
        self,
        histories: Histories,
        facts: ItemFacts,
        k: int,
        *,
        exclude_seen: bool,
        blocked: npt.NDArray[np.bool_] | None = None,
    ) -> Reasoned:
        """The k best of the candidates; scores are the ranker's margins."""
        from batch_predictions.models.recommender.kernels import best

        places = np.full((histories.users, k), -1, dtype=np.int64)
        values = np.full((histories.users, k), -np.inf, dtype=np.float32)
        rows = np.full((histories.users, k), -1, dtype=np.int64)
        kept: list[Floats] = []
        moved: list[Floats] = []
        held = 0
        for start, stop, part in in_batches(histories, self.bundle.scores):
            pairs = self.bundle.pairs(part, facts, int(self.params["each"]), exclude_seen, blocked)
            table, _ = feature_table(pairs, self.groups)
            real = pairs.positions >= 0
            scores = np.full(real.shape, np.nan, dtype=np.float32)
            parts = None
            if len(table):
                scores[real], parts = self.ranker.margins(table, real.sum(axis=1))
            # Equal scores go to the lower position, as everywhere: candidates in that order.
            order = np.argsort(np.where(real, pairs.positions, len(self.items)), axis=1)
            top = np.empty((len(real), k), dtype=np.int64)
            worth = np.empty((len(real), k), dtype=np.float32)
            best(np.take_along_axis(scores, order, axis=1), k, top, worth)
            found = top >= 0
            chosen = np.take_along_axis(order, np.maximum(top, 0), axis=1)
            picked = np.take_along_axis(pairs.positions, chosen, axis=1)
            places[start:stop] = np.where(found, picked, -1)
            values[start:stop] = worth
            number = np.cumsum(real.ravel()).reshape(real.shape) - 1
            row_of = np.take_along_axis(number, chosen, axis=1)
            used = row_of[found]
            rows[start:stop][found] = held + np.arange(len(used))
            kept.append(table[used])
            if parts is not None:
                moved.append(parts[used])
            held += len(used)
        width = len(self.groups)
        features = np.concatenate(kept) if kept else np.empty((0, width), dtype=np.float32)
        straight = np.concatenate(moved) if moved else None
        return Reasoned(places, values, features, straight, rows)

    def scores(self, histories: Histories, facts: ItemFacts | None = None) -> Floats:
        """The ranker's margins of the candidates, nan for all other items."""
        assert facts is not None, "the ranker reads the facts of the day"
        scores = np.full((histories.users, len(self.items)), np.nan, dtype=np.float32)
        everything = int(self.params["each"]) * len(self.bundle.members)
        ranked = self.rank(histories, facts, everything, exclude_seen=False)
        users, ranks = np.nonzero(ranked.positions >= 0)
        scores[users, ranked.positions[users, ranks]] = ranked.scores[users, ranks]
        return scores

    def save(self, folder: Path) -> None:
        """The manifest, the ranker as text, each generator in a folder of its name."""
        folder.mkdir(parents=True, exist_ok=True)
        manifest = {
            "kind": self.kind,
            "name": self.name,
            "params": self.params,
            "arrays": [],
            "generators": [each.declared.name for each in self.bundle.members],
        }
        text = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False)
        (folder / MANIFEST).write_text(text + "\n")
        self.ranker.trees.save(folder)
        pq.write_table(pa.table({"item_id": self.items}), folder / ITEMS)
        if self.described is not None:
            known = pc.is_in(self.described["item_id"], value_set=self.items)
            pq.write_table(self.described.filter(known), folder / DESCRIBED)
        for member in self.bundle.members:
            member.model.save(folder / member.declared.name)

    @classmethod
    def read(cls, folder: Path, manifest: Mapping[str, Any], items: pa.StringArray) -> TwoStage:
        """What `save` wrote."""
        names = manifest["generators"]
        bundle = Bundle.of(
            items, [(DECLARED[name], Recommender.load(folder / name)) for name in names]
        )
        there = (folder / DESCRIBED).exists()
        described = pq.read_table(folder / DESCRIBED) if there else None
        params = dict(manifest["params"])
        return cls(bundle, Mixed.load(folder, params), params, described)
