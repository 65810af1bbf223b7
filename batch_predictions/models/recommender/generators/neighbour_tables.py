"""Tables of each item's nearest neighbours: computed in blocks, summed over histories.

Here are also item-to-item weights, which say which history item contributes most to a score, and
the base of recommenders that score items by such a table.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from batch_predictions.core.arrays import Floats, Positions
from batch_predictions.models.recommender.base import Proposals, TrainableRecommender
from batch_predictions.models.recommender.data.histories import Histories
from batch_predictions.models.recommender.data.item_features import ItemFeatures

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BLOCK_ITEMS = 512
"""Items whose neighbours one thread computes at a time."""
THREADS = 2


def nearest_neighbours(
    left: csr_matrix, right: csr_matrix, neighbours: int, *, include_self: bool
) -> tuple[npt.NDArray[np.int32], Floats]:
    """Finds the items j of the largest (left' right)_ij > 0 for every item i.

    Args:
        left: users x items.
        right: users x items.
        neighbours: how many are kept.
        include_self: whether an item may be its own neighbour.

    Returns:
        Item positions (m, neighbours), -1 at the end, and their similarity.
    """
    from batch_predictions.models.recommender.kernels.cooccurrence import topk_neighbours

    items = left.shape[1]
    neighbours = min(neighbours, items)
    neighbour_ids = np.full((items, neighbours), -1, dtype=np.int32)
    similarity = np.zeros((items, neighbours), dtype=np.float32)
    by_item, by_user = left.T.tocsr(), right.tocsr()

    def compute_block(start: int) -> None:
        topk_neighbours(
            by_item.indptr,
            by_item.indices,
            by_item.data,
            by_user.indptr,
            by_user.indices,
            by_user.data,
            include_self,
            start,
            min(start + BLOCK_ITEMS, items),
            neighbour_ids,
            similarity,
        )

    run_in_blocks(compute_block, items)
    return neighbour_ids, similarity


def run_in_blocks(compute_block: Callable[[int], None], items: int) -> None:
    """Calls a function with the first item of every block, in threads.

    Items are independent of each other, so the number of threads changes no result.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(compute_block, range(0, items, BLOCK_ITEMS)))


def score_neighbours(
    profile: csr_matrix,
    neighbour_ids: npt.NDArray[np.int32],
    similarity: Floats,
    scores: Floats | None = None,
) -> Floats:
    """Sums of weight x similarity over the items of each user's profile, (n, m).

    Args:
        profile: weights of the users' items, n users x m items.
        neighbour_ids: positions of each item's neighbours, -1 at the end, (m, neighbours).
        similarity: of the neighbours, (m, neighbours).
        scores: to which the sums are added, changed in place; None: zeros.
    """
    from batch_predictions.models.recommender.kernels.neighbours import add_neighbours

    if scores is None:
        scores = np.zeros((profile.shape[0], len(neighbour_ids)), dtype=np.float32)
    add_neighbours(profile.indptr, profile.indices, profile.data, neighbour_ids, similarity, scores)
    return scores


def neighbour_scores_of(
    profile: csr_matrix, neighbour_ids: npt.NDArray[np.int32], similarity: Floats, items: Positions
) -> Floats:
    """Sums of `score_neighbours` of given items, nan where there is no item, (n, k).

    Args:
        profile: weights of the users' items, n users x m items.
        neighbour_ids: positions of each item's neighbours, -1 at the end, (m, neighbours).
        similarity: of the neighbours, (m, neighbours).
        items: positions, -1 for none, (n, k).
    """
    from batch_predictions.models.recommender.kernels.neighbours import scores_of_neighbours

    values = np.empty(items.shape, dtype=np.float32)
    scores_of_neighbours(
        profile.indptr, profile.indices, profile.data, neighbour_ids, similarity, items, values
    )
    return values


def top_neighbour_contributors(
    profile: csr_matrix,
    picks: Positions,
    neighbour_ids: npt.NDArray[np.int32],
    similarity: Floats,
) -> Positions:
    """Finds the profile item with the largest part of each pick's score, -1 if none, (n, k).

    Args:
        profile: weights of the users' items, n users x m items.
        picks: distinct item positions of each user, -1 for none, (n, k).
        neighbour_ids: positions of each item's neighbours, -1 at the end, (m, neighbours).
        similarity: of the neighbours, (m, neighbours).
    """
    from batch_predictions.models.recommender.kernels.contributors import top_contributor

    contributors = np.empty(picks.shape, dtype=np.int64)
    top_contributor(
        profile.indptr,
        profile.indices,
        profile.data,
        neighbour_ids,
        similarity,
        picks,
        contributors,
    )
    return contributors


def cap_at_one(matrix: csr_matrix) -> csr_matrix:
    """Copies a matrix with all entries at most 1: a purchase is 1 however often, a view less."""
    result = matrix.copy()
    result.data = np.minimum(result.data, 1)
    return result


def scale_matrix(
    matrix: csr_matrix,
    rows: npt.NDArray[np.generic] | None,
    columns: npt.NDArray[np.generic] | None,
) -> csr_matrix:
    """Copies a matrix with rows and columns multiplied by factors, as float32.

    Args:
        matrix: n x m.
        rows: factor of each row, (n,); None: 1.
        columns: factor of each column, (m,); None: 1.
    """
    result = matrix.astype(np.float64)
    if rows is not None:
        result.data *= np.repeat(rows, np.diff(result.indptr))
    if columns is not None:
        result.data *= columns[result.indices]
    return result.astype(np.float32)


def divide_by_root_length(matrix: csr_matrix) -> csr_matrix:
    """Rows over the root of their number of entries: long histories do not score higher."""
    lengths = np.diff(matrix.indptr)
    result = matrix.copy()
    result.data = result.data / np.sqrt(np.repeat(np.maximum(lengths, 1), lengths)).astype(
        np.float32
    )
    return result


def top_contributors(histories: csr_matrix, weights: Floats, picks: Positions) -> Positions:
    """Finds the history item j of the largest x_j * weights[i, j] > 0 for each pick i, (n, k).

    Args:
        histories: x, n users x m items.
        weights: (m, m), row i for target i.
        picks: item positions, -1 for none, (n, k).

    Returns:
        Item positions, -1 where no contribution is positive.
    """
    from batch_predictions.models.recommender.kernels.contributors import top_weight

    contributors = np.empty(picks.shape, dtype=np.int64)
    top_weight(
        histories.indptr,
        histories.indices,
        histories.data,
        np.asarray(weights),
        np.ascontiguousarray(picks),
        contributors,
    )
    return contributors


class NeighbourRecommender(TrainableRecommender):
    """The base class of recommenders that sum similarities to the items of a user's profile.

    Its arrays are `neighbour_ids`, item positions with -1 at the end, and `similarity`, both
    (m, neighbours).
    """

    @abstractmethod
    def user_profile(self, histories: Histories) -> csr_matrix:
        """Weights of the history's items, (n, m)."""

    def scores(self, histories: Histories, item_features: ItemFeatures | None = None) -> Floats:
        """Sums of similarity times the profile's weights, (n, m)."""
        profile = self.user_profile(histories)
        return score_neighbours(profile, self.arrays["neighbour_ids"], self.arrays["similarity"])

    def propose(
        self,
        histories: Histories,
        item_features: ItemFeatures,
        k: int,
        *,
        exclude_seen: bool,
        blocked: npt.NDArray[np.bool_] | None = None,
    ) -> Proposals:
        """Ranks the sums of a user at a time: no others are held."""
        from batch_predictions.models.recommender.kernels.neighbours import rank_neighbours

        profile = self.user_profile(histories)
        tables = self.arrays["neighbour_ids"], self.arrays["similarity"]
        masked = histories.seen_matrix() if exclude_seen else profile[:, :0]
        positions = np.empty((histories.users, k), dtype=np.int64)
        if k:
            rank_neighbours(
                profile.indptr,
                profile.indices,
                profile.data,
                *tables,
                masked.indptr,
                masked.indices,
                np.flatnonzero(blocked) if blocked is not None else np.empty(0, dtype=np.int64),
                positions,
            )

        def scores_of(items: Positions) -> Floats:
            values = neighbour_scores_of(profile, *tables, items)
            values[histories.is_masked(items, exclude_seen, blocked)] = np.nan
            return values

        return Proposals(positions, scores_of)

    @property
    def dense_scores(self) -> int:
        """Number of scores of a user that `propose` holds: none, since it sums a user at a time."""
        return 0

    def explain(self, histories: Histories, picks: Positions) -> Positions:
        """Finds the profile item with the largest part of each pick's score, (n, k)."""
        return top_neighbour_contributors(
            self.user_profile(histories),
            picks,
            self.arrays["neighbour_ids"],
            self.arrays["similarity"],
        )
