"""Compiled loops over texts and tokens. Imports numba: import this module only inside functions.

All of them release the interpreter's lock, so that several workers tokenise in parallel.
"""

from __future__ import annotations

import numpy as np

from batch_predictions.core.arrays import Int32s, Int64s, UInt8s
from batch_predictions.core.jit import njit_cached

BLANK, WORD, PUNCTUATION, SINGLE = 0, 1, 2, 3
"""Classes of characters: blank, part of a word, punctuation mark, token by itself."""


@njit_cached
def _decode_character(data: UInt8s, position: int) -> tuple[np.int64, int]:
    """The code point that starts at a position in UTF-8 bytes, and the position after it."""
    lead = np.int64(data[position])
    if lead < 0x80:
        return lead, position + 1
    continuation = 1 if lead < 0xE0 else 2 if lead < 0xF0 else 3
    code = lead & (0x3F >> continuation)
    for n in range(1, continuation + 1):
        code = (code << 6) | (np.int64(data[position + n]) & 0x3F)
    return code, position + 1 + continuation


@njit_cached
def _class_of(classes: UInt8s, code: int) -> np.int64 | int:
    """Class of a code point; beyond the basic plane all are parts of words."""
    return np.int64(classes[code]) if code < classes.shape[0] else WORD


@njit_cached
def split_tokens(
    data: UInt8s, text_ends: Int64s, classes: UInt8s, starts: Int32s, stops: Int32s, bounds: Int64s
) -> int:
    """Splits texts into tokens; ASCII letters are turned into lower case in place.

    Args:
        data: UTF-8 bytes of all texts, (bytes,); modified.
        text_ends: where each text ends in `data`, (texts,).
        classes: class of every code point of the basic plane.
        starts, stops: output: the byte span of each token. Tokens beyond their length are only
            counted.
        bounds: output: number of tokens before each text, and of all texts, (texts + 1,).

    Returns:
        The number of tokens.
    """
    count, position = 0, 0
    for text in range(text_ends.shape[0]):
        bounds[text] = count
        end = text_ends[text]
        for n in range(position, end):
            if 65 <= data[n] <= 90:
                data[n] += 32
        while position < end:
            start = position
            code, position = _decode_character(data, position)
            character_class = _class_of(classes, code)
            if character_class == BLANK:
                continue
            if character_class == PUNCTUATION:
                # A run of one mark is one token.
                while position < end:
                    following, after = _decode_character(data, position)
                    if following != code:
                        break
                    position = after
            elif character_class == WORD:
                while position < end:
                    following, after = _decode_character(data, position)
                    if following == 39 and after < end:
                        # An apostrophe between two parts of a word belongs to the word.
                        following, after = _decode_character(data, after)
                    if _class_of(classes, following) != WORD:
                        break
                    position = after
            if count < starts.shape[0]:
                starts[count], stops[count] = start, position
            count += 1
    bounds[text_ends.shape[0]] = count
    return count


@njit_cached
def _hash_bytes(data: UInt8s, start: int, stop: int) -> np.int64:
    """Hashes bytes by FNV-1a; the high bits are folded into the low ones, which choose the slot."""
    mixed = np.uint64(0xCBF29CE484222325)
    for n in range(start, stop):
        mixed = (mixed ^ np.uint64(data[n])) * np.uint64(0x100000001B3)
    return np.int64((mixed ^ (mixed >> np.uint64(32))) & np.uint64(0x7FFFFFFF))


@njit_cached
def _equal_bytes(data: UInt8s, first: int, second: int, length: int) -> bool:
    """Returns whether two spans of `data` of one length are equal."""
    n = 0
    while n < length and data[first + n] == data[second + n]:
        n += 1
    return n == length


@njit_cached
def number_tokens(
    data: UInt8s, starts: Int32s, stops: Int32s, count: int, numbers: Int32s, examples: Int32s
) -> int:
    """Numbers the distinct tokens in the order in which they first occur.

    Args:
        data: UTF-8 bytes of all texts.
        starts, stops: byte span of each token.
        count: number of tokens.
        numbers: output: the number of each token, (at least count,).
        examples: output: the first token with each number, (at least count,).

    Returns:
        How many distinct tokens there are.
    """
    # An open-addressing hash table that doubles when it is half full.
    size = 1 << 12
    table = np.full(size, -1, np.int32)
    hashes = np.empty(size, np.int64)
    distinct = 0
    for token in range(count):
        start, stop = starts[token], stops[token]
        token_hash = _hash_bytes(data, start, stop)
        slot = token_hash & (size - 1)
        while True:
            number = table[slot]
            if number < 0:
                break
            example = examples[number]
            if (
                hashes[number] == token_hash
                and stops[example] - starts[example] == stop - start
                and _equal_bytes(data, starts[example], start, stop - start)
            ):
                break
            slot = (slot + 1) & (size - 1)
        if number < 0:
            number = distinct
            table[slot], hashes[number], examples[number] = number, token_hash, token
            distinct += 1
            if 2 * distinct == size:
                size *= 2
                larger = np.empty(size, np.int64)
                larger[:distinct] = hashes[:distinct]
                hashes = larger
                table = np.full(size, -1, np.int32)
                for n in range(distinct):
                    slot = hashes[n] & (size - 1)
                    while table[slot] >= 0:
                        slot = (slot + 1) & (size - 1)
                    table[slot] = n
        numbers[token] = number
    return distinct


@njit_cached
def _first_slot(pair: int, size: int) -> np.int64:
    """The slot at which the search for a pair starts (Fibonacci hashing)."""
    mixed = np.uint64(pair) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(mixed >> np.uint64(33)) & (size - 1)


@njit_cached
def build_pair_table(pairs: Int64s, table: Int32s) -> None:
    """Fills a hash table of pairs.

    Args:
        pairs: distinct integers, (pairs,).
        table: output: the index in `pairs` that each slot holds, or -1. Its length is a power of
            two and more than twice the number of pairs.
    """
    table[:] = -1
    size = table.shape[0]
    for n in range(pairs.shape[0]):
        slot = _first_slot(pairs[n], size)
        while table[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        table[slot] = n


@njit_cached
def _find_pair(pairs: Int64s, table: Int32s, ngrams: Int64s, pair: int) -> np.int64 | int:
    """Finds the n-gram of a pair of words; -1 if it is not known."""
    size = table.shape[0]
    slot = _first_slot(pair, size)
    while table[slot] >= 0:
        if pairs[table[slot]] == pair:
            return np.int64(ngrams[table[slot]])
        slot = (slot + 1) & (size - 1)
    return -1


@njit_cached
def find_ngrams(
    numbers: Int32s,
    bounds: Int64s,
    unigrams: Int64s,
    halves: Int64s,
    boundary_halves: Int64s,
    pair_table: tuple[Int64s, Int32s, Int64s],
    matches: Int32s,
    match_ends: Int64s,
) -> None:
    """Finds the known words and the known pairs of neighbouring words of each text.

    Args:
        numbers, bounds: the tokens of all texts as numbers, and where each text's tokens start.
        unigrams: the n-gram that each token number is as a word, or -1.
        halves: the number of each token as half of a pair, or -1.
        boundary_halves: halves that stand for the start and the end of a text in pairs, (2,).
        pair_table: (pairs, table, ngrams): both halves of each pair in one integer, the first in
            the upper 32 bits; their hash table (see `build_pair_table`); their n-grams.
        matches: output: n-grams, (at least 2 tokens + texts,).
        match_ends: output: number of n-grams up to the end of each text, (texts,).
    """
    pairs, table, ngrams = pair_table
    count = 0
    for text in range(bounds.shape[0] - 1):
        previous = np.int64(boundary_halves[0])
        for token in range(bounds[text], bounds[text + 1] + 1):
            at_end = token == bounds[text + 1]
            current = np.int64(boundary_halves[1]) if at_end else np.int64(halves[numbers[token]])
            if previous >= 0 and current >= 0:
                ngram = _find_pair(pairs, table, ngrams, (previous << 32) | current)
                if ngram >= 0:
                    matches[count] = ngram
                    count += 1
            if not at_end and unigrams[numbers[token]] >= 0:
                matches[count] = unigrams[numbers[token]]
                count += 1
            previous = current
        match_ends[text] = count


@njit_cached
def count_flags(numbers: Int32s, bounds: Int64s, flags: Int64s, counts: Int64s) -> None:
    """Counts, for each text and each bit, the distinct tokens whose flags have that bit set.

    Args:
        numbers, bounds: the tokens of all texts as numbers, and where each text's tokens start.
        flags: bits of each token number, (distinct tokens,).
        counts: output, zero at the start, (texts, bits).
    """
    last_text = np.full(flags.shape[0], -1, np.int64)
    for text in range(bounds.shape[0] - 1):
        for token in range(bounds[text], bounds[text + 1]):
            number = numbers[token]
            if flags[number] != 0 and last_text[number] != text:
                last_text[number] = text
                for bit in range(counts.shape[1]):
                    counts[text, bit] += (flags[number] >> bit) & 1
