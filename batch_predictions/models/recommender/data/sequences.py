"""Users' items in the order of time."""

from __future__ import annotations

import numpy as np

from batch_predictions.models.recommender.data.interactions import Codes, Interactions


def item_sequences(interactions: Interactions) -> tuple[Codes, Codes]:
    """Items of all users, one user after the other, each once, by time of first interaction.

    Returns:
        Items (positions in `item_ids`) and their users, both (n,).
    """
    times = interactions.time_order
    by_pair = np.lexsort((times, interactions.dates, interactions.items, interactions.users))
    users, items = interactions.users[by_pair], interactions.items[by_pair]
    is_first = (np.diff(users, prepend=-1) != 0) | (np.diff(items, prepend=-1) != 0)
    firsts = by_pair[is_first]
    order = firsts[
        np.lexsort(
            (
                interactions.items[firsts],
                times[firsts],
                interactions.dates[firsts],
                interactions.users[firsts],
            )
        )
    ]
    return interactions.items[order], interactions.users[order]
