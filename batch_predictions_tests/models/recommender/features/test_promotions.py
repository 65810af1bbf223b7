"""What is promoted in the weeks ahead, as candidates and as features, counted by hand."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.interactions import Interactions
from batch_predictions.models.recommender.data.item_features import ItemFacts
from batch_predictions.models.recommender.explanations import PROMOTION, TRENDING, reasons
from batch_predictions.models.recommender.features.candidates import Pairs
from batch_predictions.models.recommender.features.promotions import later_features
from batch_predictions.models.recommender.features.table import table
from batch_predictions.models.recommender.generators.heuristics import Promoted

DAY = date(2024, 3, 31)
ITEMS = pa.array(["bread", "cake", "milk"])
# Ann of the north takes bread, bob of the south cake twice, dan of nowhere milk.
ROWS = [("ann", "bread", 20), ("bob", "cake", 14), ("bob", "cake", 14), ("dan", "milk", 3)]
PLACES = pa.table(
    {
        "user_id": ["ann", "bob", "dan"],
        "age_bracket": pa.nulls(3, pa.string()),
        "gender": pa.nulls(3, pa.string()),
        "location": ["north", "south", None],
    }
)
Row = tuple[int, str, str, bool, bool]
PLANNED: tuple[Row, ...] = (
    (1, "bread", "north", True, False),
    (2, "bread", "north", True, True),
    (2, "cake", "north", False, True),
    (2, "cake", "south", False, True),
    (4, "cake", "south", True, False),
)


def pairs(*planned: Row) -> Pairs:
    """Everybody with every item."""
    users, items, ages = zip(*ROWS, strict=True)
    days = [DAY - timedelta(days=age) for age in ages]
    columns = {"user_id": users, "item_id": items, "date": days, "events": [1] * len(ROWS)}
    known = Interactions.from_table(pa.table(columns))
    names = ("weeks_ahead", "item_id", "location", "display", "mailer")
    rows = [{**dict(zip(names, each, strict=True)), "tomorrow": each[0] == 1} for each in planned]
    facts = ItemFacts.of(known, DAY, ITEMS, promoted=pa.Table.from_pylist(rows) if rows else None)
    histories = Histories.of(known, np.arange(3), ITEMS, DAY, PLACES)
    return Pairs(histories, facts, np.tile(np.arange(3), (3, 1)), {}, {})


def later(*planned: Row) -> dict[str, npt.NDArray[Any]]:
    those = pairs(*planned)
    return {each.name: np.asarray(each.of(those)) for each in later_features(those)}


def test_each_known_week_after_the_coming_one_has_features_of_its_own():
    found = later(*PLANNED)
    kinds = [f"{placed}_{week}" for week in (2, 4) for placed in ("display", "mailer")]
    assert sorted(found) == sorted(
        f"{kind}_{where}" for kind in kinds for where in ("share", "here")
    )
    for user in range(3):
        assert found["display_2_share"][user].tolist() == [0.5, 0, 0]
        assert found["mailer_2_share"][user].tolist() == [0.5, 1, 0]
        assert found["display_4_share"][user].tolist() == [0, 0.5, 0]
    # Ann, bob, and dan of whom no shop is known.
    nobody = [np.nan] * 3
    np.testing.assert_array_equal(found["display_2_here"], [[1, 0, 0], [0, 0, 0], nobody])
    np.testing.assert_array_equal(found["display_4_here"], [[0, 0, 0], [0, 1, 0], nobody])


def test_a_calendar_of_one_week_or_of_none_has_no_later_features():
    assert later(*PLANNED[:1]) == {} and later() == {}


def test_a_model_that_was_taught_later_weeks_reads_nan_where_they_are_unknown():
    _, names = table(pairs(*PLANNED))
    place = [name for name, _ in names].index("display_4_here")
    known, _ = table(pairs(*PLANNED), names)
    unknown, same = table(pairs(*PLANNED[:1]), names)
    assert same == names and known.shape == unknown.shape
    assert np.isfinite(known[:6, place]).all() and np.isnan(unknown[:, place]).all()


def test_what_is_promoted_in_any_known_week_is_proposed_by_wants_and_shops():
    those = pairs(*PLANNED)
    model = Promoted("promoted", ITEMS, {"wanted": "events"}, {})
    scores = model.scores(those.histories, those.facts)
    # A quarter of all wants bread, half cake. Bread: half the shops in weeks 1 and 2; cake: all in
    # week 2, half in week 4.
    bread, cake = 0.25 * (0.1 + 0.5 + 0.5), 0.5 * (0.1 + 1 + 0.5)
    expected = [
        [bread + 2 * 0.25, cake + 0.5, np.nan],
        [bread, cake + 2 * 0.5, np.nan],
        [bread, cake, np.nan],
    ]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_what_first_takers_want_is_asked_for_by_name():
    those = pairs(*PLANNED)
    fresh = Promoted("promoted", ITEMS, {"wanted": "fresh_14"}, {})
    # Everybody came once: nobody who had come before took anything first.
    assert np.nansum(np.abs(fresh.scores(those.histories, those.facts))) == 0


def test_only_what_is_promoted_when_the_list_is_looked_up_is_said_to_be():
    those = pairs(*PLANNED)
    model = Promoted("promoted", ITEMS, {"wanted": "events"}, {})
    ranked = model.rank(those.histories, those.facts, 2, exclude_seen=False)
    places = np.tile(np.arange(2), (3, 1))
    said = reasons(model, ranked, places, those.histories, those.facts, np.zeros((3, 2), bool))
    # Cake comes first, since its promotions are more, but they begin in a week.
    assert [[ITEMS[int(i)].as_py() for i in row] for row in ranked.positions] == [
        ["cake", "bread"],
        ["cake", "bread"],
        ["cake", "bread"],
    ]
    assert said.tolist() == [[TRENDING, PROMOTION]] * 3
