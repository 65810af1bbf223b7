"""What a ranker learns from: past windows, with generators that knew only what came before them.

A lesson is a hold-out of its own. Its generators are fitted on what came before its window, their
candidates are the rows, and what the users took in the window are the labels. Where few users come
back, more windows are taken, until the ranker has enough users or history ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.models.recommender.base import Floats, in_batches
from batch_predictions.models.recommender.candidate_generation import DECLARED, Bundle, Params, Say
from batch_predictions.models.recommender.data.histories import positions
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFacts, ItemTraits
from batch_predictions.models.recommender.evaluation import (
    Holdout,
    Split,
    leave_newest,
    leave_out,
    split_by_time,
)
from batch_predictions.models.recommender.features.candidates import Group
from batch_predictions.models.recommender.features.table import table
from batch_predictions.models.recommender.generators.registry import GENERATORS
from batch_predictions.models.recommender.ranker.conditional_logit import loudness
from batch_predictions.models.recommender.ranker.gbdt_ranker import OBJECTIVES, RANKER
from batch_predictions.models.recommender.ranker.ranker_ensemble import Mixed

SEEDS_APART = 10
"""Between the seeds of one set of trees and the next."""
FEW = 500
"""Users of whole windows below which shorter ones are taken too. MovieLens by time, three earlier
cuts of 900 to 1,400 users, NDCG@10: .219 without the shorter ones, .210 with them."""


class Beside(Protocol):
    """What is known besides the interactions, as of a day."""

    def users(self, as_of: date) -> pa.Table | None:
        """user_id, age_bracket, gender, location."""
        ...

    def items(self) -> pa.Table | None:
        """item_id and a column per trait: see `ItemTraits.from_table`."""
        ...

    def promoted(self, as_of: date) -> pa.Table | None:
        """weeks_ahead, item_id, location, display, mailer, tomorrow of the weeks after the day."""
        ...


class Nothing:
    """Nothing is known besides the interactions."""

    def users(self, as_of: date) -> pa.Table | None:
        """No traits."""
        return None

    def items(self) -> pa.Table | None:
        """No traits."""
        return None

    def promoted(self, as_of: date) -> pa.Table | None:
        """No promotions."""
        return None


@dataclass(frozen=True)
class Lesson:
    """Rows of candidates: `features` (rows, f), `labels` (1: taken), `groups` rows per user."""

    features: Floats
    labels: npt.NDArray[np.int8]
    groups: npt.NDArray[np.int64]
    names: list[tuple[str, Group]]


@dataclass(frozen=True)
class Ranker:
    """A trained ranker, and the parameters of a `TwoStage`."""

    mixed: Mixed
    params: dict[str, Any]


@dataclass(frozen=True)
class Course:
    """How a two-stage recommender is taught.

    Attributes:
        exclude_seen: whether seen items are neither offered nor right.
        window_days: days of a label window, as long as the hold-out.
        seed: of samples and trees.
        generators: names; None: all that apply.
        each: candidates of each generator when scoring.
        each_taught: the same in lessons.
        max_items: items with most events that are known at all.
        lesson_users: labelled users after which no older window is taken.
        max_lessons: whole windows at most.
        seeds: trees of each kind, of a seed each, whose margins are added.
        params: changed parameters of generators, by name.
        ranker_params: changed parameters of LightGBM, and `rounds`.
        straight: how far the straight line's margins spread against the trees'; None: the farther,
            the fewer users there are to learn from; 0: no line.
        beside: what is known besides the interactions.
        threads: of the trees.
        say: told what is being done.
    """

    exclude_seen: bool
    window_days: int = 7
    seed: int = 0
    generators: Sequence[str] | None = None
    each: int = 60
    each_taught: int = 60
    max_items: int = 12_000
    lesson_users: int = 2_500
    max_lessons: int = 18
    seeds: int = 1
    params: Params = field(default_factory=dict)
    ranker_params: Mapping[str, Any] = field(default_factory=dict)
    straight: float | None = None
    beside: Beside = field(default_factory=Nothing)
    threads: int = 2
    say: Say | None = None

    def names(self, as_of: date) -> list[str]:
        """The generators that apply as of a day."""
        wanted = self.generators
        there = {
            "repeats": not self.exclude_seen,
            "new_items": self.exclude_seen,
            # Of the rows: see `bundle`.
            "times": True,
            "ratings": True,
            "segments": self.beside.users(as_of) is not None,
            "promotions": (calendar := self.beside.promoted(as_of)) is not None
            and calendar.num_rows > 0,
        }
        return [
            each.name
            for each in GENERATORS
            if (wanted is None or each.name in wanted) and all(there[need] for need in each.only)
        ]

    @property
    def stride(self) -> int:
        """Days between lessons: a whole number of them makes up a window."""
        return -(-self.window_days // -(-self.window_days // 7))

    def bundle(
        self, interactions: Interactions, as_of: date, names: Sequence[str] | None = None
    ) -> Bundle:
        """The generators, or some by name, fitted on the rows up to a day; without times or ratings
        none that reads them, if there are others."""
        known = interactions.up_to(as_of)
        names = names or self.names(as_of)
        for need, there in (("times", not known.single_date), ("ratings", known.are_rated)):
            if not there:
                names = [name for name in names if need not in DECLARED[name].only] or names
        return Bundle.fit(
            known,
            as_of,
            names,
            exclude_seen=self.exclude_seen,
            max_items=self.max_items,
            params=self.params,
            traits=self.beside.users(as_of),
            say=self.say,
        )

    def facts(self, interactions: Interactions, as_of: date, items: pa.StringArray) -> ItemFacts:
        """What is known of items as of a day."""
        described = self.beside.items()
        traits = ItemTraits.from_table(described, items) if described is not None else None
        return ItemFacts.of(interactions, as_of, items, traits, self.beside.promoted(as_of))

    def past(
        self, interactions: Interactions, as_of: date, split: Split | None = None
    ) -> list[Lesson]:
        """Lessons of windows that end by `as_of`: whole ones, the newest first, and where
        these have hardly any users, shorter ones.

        Where the question is what of a user's items was hidden (`leave_out`, as it must be without
        times), there is one lesson: more of them hidden.
        """
        known = interactions.up_to(as_of)
        if split == "leave_out" or known.single_date:
            holdout = leave_out(known, as_of=as_of, seed=self.seed + 1, max_users=self.lesson_users)
            return [self.lesson(holdout)] if len(holdout.users) else []
        lessons: list[Lesson] = []
        users = 0
        if split == "leave_newest":
            # One after the other, each user's newest items go.
            while users < self.lesson_users and len((holdout := leave_newest(known, as_of)).users):
                lessons.append(self.lesson(holdout))
                users += len(holdout.users)
                known = holdout.train
            return lessons
        first = known.dates.min() if len(known) else np.datetime64(as_of, "D")
        strides = -(-self.window_days // self.stride)
        whole = range(strides, strides + self.max_lessons)
        # Windows shorter than the hold-out's ask for less than is asked, of those who come back
        # soonest: they are taken where whole ones have hardly any users.
        for ages in (whole, range(1, strides)):
            if ages is not whole and users >= FEW:
                break
            for age in (self.stride * each for each in ages):
                cut = as_of - timedelta(days=age)
                if users >= self.lesson_users or np.datetime64(cut, "D") < first:
                    break
                window = known.up_to(cut + timedelta(days=min(age, self.window_days)))
                holdout = split_by_time(
                    window,
                    cut=cut,
                    exclude_seen=self.exclude_seen,
                    seed=self.seed,
                    max_users=self.lesson_users,
                )
                if not len(holdout.users):
                    break
                lessons.append(self.lesson(holdout))
                users += len(holdout.users)
        return lessons

    def lesson(self, holdout: Holdout, bundle: Bundle | None = None) -> Lesson:
        """The candidates of a hold-out's users, labelled."""
        if bundle is None:
            bundle = self.bundle(holdout.train, holdout.as_of)
        facts = self.facts(holdout.train, holdout.as_of, bundle.items)
        histories = holdout.histories(bundle.items, self.beside.users(holdout.as_of))
        to_answer = positions(bundle.items, holdout.item_ids)
        features, labels, groups = [], [], []
        names: list[tuple[str, Group]] = []
        for start, _, part in in_batches(histories, bundle.scores):
            pairs = bundle.pairs(part, facts, self.each_taught, holdout.masked, None)
            answers = to_answer[np.maximum(pairs.positions, 0)]
            right = holdout.are_right(start, np.where(pairs.positions >= 0, answers, -1))
            # Users of whom no candidate is right teach nothing.
            some = right.any(axis=1)
            rows, names = table(pairs)
            real = pairs.positions >= 0
            keep = np.repeat(some, real.sum(axis=1))
            features.append(rows[keep])
            labels.append(right[some][real[some]].astype(np.int8))
            groups.append(real[some].sum(axis=1))
        return Lesson(
            np.concatenate(features), np.concatenate(labels), np.concatenate(groups), names
        )

    def ranker(self, lessons: Sequence[Lesson]) -> Ranker:
        """Train on lessons.

        Raises:
            ValueError: no lesson has a right candidate.
        """
        lessons = [each for each in lessons if len(each.groups)]
        if not lessons:
            raise ValueError("two_stage: no past window has a right candidate")
        names = list(dict.fromkeys(name for each in lessons for name in each.names))
        users = sum(len(each.groups) for each in lessons)
        if self.say:
            rows = sum(len(each.labels) for each in lessons)
            self.say(
                f"ranking {rows:,} candidates of {users:,} users in {len(lessons)} past windows"
            )
        common = {**RANKER, "num_threads": self.threads}
        changed = dict(self.ranker_params)
        if RANKER["bagging_fraction"] * sum(len(each.labels) for each in lessons) < 1:
            # LightGBM refuses a bag without rows.
            common["bagging_freq"] = 0
        mixed = Mixed.taught(
            [
                {**common, "seed": self.seed + SEEDS_APART * n + place, **objective, **changed}
                for n in range(self.seeds)
                for place, objective in enumerate(OBJECTIVES)
            ],
            loudness(users, self.exclude_seen) if self.straight is None else self.straight,
            np.concatenate([_arranged(each, names) for each in lessons]),
            np.concatenate([each.labels for each in lessons]),
            np.concatenate([each.groups for each in lessons]),
            names,
        )
        params = {
            "each": self.each,
            "groups": [list(each) for each in names],
            "ranker": changed,
            "lessons": len(lessons),
            **mixed.params(),
        }
        return Ranker(mixed, params)


def _arranged(lesson: Lesson, names: Sequence[tuple[str, Group]]) -> Floats:
    """A lesson's features in the order of `names`, nan where it lacks one."""
    if lesson.names == list(names):
        return lesson.features
    place = {name: column for column, name in enumerate(lesson.names)}
    features = np.full((len(lesson.features), len(names)), np.nan, dtype=np.float32)
    for column, name in enumerate(names):
        if name in place:
            features[:, column] = lesson.features[:, place[name]]
    return features
