"""States of a gated recurrent unit after each user's items, and digests of these, by user."""

from __future__ import annotations

import math

import numpy as np

from batch_predictions.core.arrays import Floats, Int32s, Int64s
from batch_predictions.core.jit import njit_cached, njit_reassoc


@njit_reassoc
def advance_states(
    indptr: Int64s,
    items: Int64s,
    strengths: Floats,
    inputs: Floats,
    input_bias: Floats,
    recurrent: Floats,
    bias: Floats,
    states: Floats,
) -> None:
    """Advances each user's state by the user's items; the same bits whatever the other users.

    As torch.nn.GRU has it: r and z are gates, n the new content, h = (1 - z) n + z h.

    Args:
        indptr: first item of each user, (n + 1,).
        items: of all users, each user's in the order of time, (e,).
        strengths: by which each item's vector is multiplied, (e,).
        inputs: of each item, its part of r, z and n, biases included, (m, 3 d).
        input_bias: the biases of these parts, (3 d,).
        recurrent: weights of the state in r, z and n, (3 d, d).
        bias: of these, (3 d,).
        states: before the items, and changed to those after them, (n, d).
    """
    width = states.shape[1]
    gates, parts = np.empty(3 * width, np.float32), np.empty(3 * width, np.float32)
    for user in range(len(states)):
        state = states[user]
        for place in range(indptr[user], indptr[user + 1]):
            for row in range(3 * width):
                total = np.float32(0)
                for column in range(width):
                    total += recurrent[row, column] * state[column]
                gates[row] = total + bias[row]
            strength, item = strengths[place], items[place]
            for row in range(3 * width):
                parts[row] = (
                    strength * inputs[item, row] + (np.float32(1) - strength) * input_bias[row]
                )
            for column in range(width):
                reset = _sigmoid(parts[column] + gates[column])
                update = _sigmoid(parts[width + column] + gates[width + column])
                content = math.tanh(parts[2 * width + column] + reset * gates[2 * width + column])
                state[column] = (np.float32(1) - update) * content + update * state[column]


@njit_reassoc
def _sigmoid(value: np.float32) -> np.float32:
    return np.float32(1) / (np.float32(1) + math.exp(-value))


@njit_cached
def digest_first_items(
    indptr: Int64s,
    items: Int32s,
    ages: Int32s,
    times: Int64s,
    strengths: Int32s,
    age: int,
    digests: Int64s,
    earlier_digests: Int64s,
    newest: Int64s,
) -> None:
    """Digests each user's items with the order in which they came, and finds the newest one.

    A digest does not depend on the day of scoring: days count back from that of the digest.

    Args:
        indptr: first item of each user, (n + 1,).
        items: of all users, each once, in any order, (e,).
        ages: days between an item's first interaction and the day of scoring, (e,).
        times: integers that order the items of a day, (e,).
        strengths: bits of the strength of each item's first interaction, (e,).
        age: of the day of the earlier digests.
        digests: written, of all items, (n,).
        earlier_digests: written, of the items until the earlier day, as of that day, (n,).
        newest: written, place of the newest item, -1 for a user without any, (n,).
    """
    for user in range(len(indptr) - 1):
        whole = earlier = np.uint64(0)
        last = -1
        for place in range(indptr[user], indptr[user + 1]):
            mixed = _mix(np.uint64(items[place]) ^ (np.uint64(strengths[place]) << np.uint64(32)))
            mixed = _mix(mixed ^ np.uint64(times[place]))
            # Sums, so that the order in which the items are stored says nothing.
            whole += _mix(mixed ^ np.uint64(ages[place]))
            if ages[place] >= age:
                earlier += _mix(mixed ^ np.uint64(ages[place] - age))
            if last < 0 or (-ages[place], times[place], items[place]) > (
                -ages[last],
                times[last],
                items[last],
            ):
                last = place
        digests[user], earlier_digests[user] = np.int64(whole), np.int64(earlier)
        newest[user] = last


@njit_cached
def _mix(value: np.uint64) -> np.uint64:
    """Scrambles the bits of a number (splitmix64: Steele, Lea and Flood 2014)."""
    value += np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit_reassoc
def project_states(
    states: Floats,
    last: Floats,
    weights: Floats,
    bias: Floats,
    scale: Floats,
    shift: Floats,
    out: Floats,
) -> None:
    """Queries of users: layer norm of the last item's vector plus the projected state.

    Args:
        states: (n, d).
        last: vector of each user's last item, zeros without one, (n, d).
        weights: of the projection, (d, d).
        bias: of the projection, (d,).
        scale: of the layer norm, (d,).
        shift: of the layer norm, (d,).
        out: written, (n, d).
    """
    width = states.shape[1]
    for user in range(len(states)):
        mean = np.float32(0)
        for row in range(width):
            total = last[user, row] + bias[row]
            for column in range(width):
                total += weights[row, column] * states[user, column]
            out[user, row] = total
            mean += total
        mean /= np.float32(width)
        variance = np.float32(0)
        for row in range(width):
            variance += (out[user, row] - mean) ** 2
        factor = np.float32(1) / math.sqrt(variance / np.float32(width) + np.float32(1e-5))
        for row in range(width):
            out[user, row] = (out[user, row] - mean) * factor * scale[row] + shift[row]


@njit_reassoc
def most_similar_items(
    indptr: Int64s, items: Int64s, vectors: Floats, picks: Int64s, out: Int64s
) -> None:
    """Finds the user's item of the largest inner product > 0 with each pick, -1 if none.

    Args:
        indptr: first item of each user, (n + 1,).
        items: of all users, (e,).
        vectors: of all items, (m, d).
        picks: item positions, -1 for none, (n, k).
        out: receives item positions, (n, k).
    """
    for user in range(picks.shape[0]):
        for rank in range(picks.shape[1]):
            out[user, rank] = -1
            if picks[user, rank] < 0:
                continue
            pick, largest = vectors[picks[user, rank]], np.float32(0.0)
            for place in range(indptr[user], indptr[user + 1]):
                vector, similarity = vectors[items[place]], np.float32(0.0)
                for column in range(len(pick)):
                    similarity += vector[column] * pick[column]
                if similarity > largest:
                    largest = similarity
                    out[user, rank] = items[place]
