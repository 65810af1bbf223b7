"""Compiled loops over texts and tokens. Imports numba: import it only inside functions.

Each lets go of the interpreter's lock, so that several workers tokenise beside each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from batch_predictions.jit import njit_cached

BLANK, WORD, MARK, SINGLE = 0, 1, 2, 3
"""Kinds of characters: a blank, part of a word, a mark, a token of its own."""


@njit_cached
def _character(data: Any, at: int) -> tuple[Any, Any]:
    """The code point at a place of UTF-8 bytes, and the place after it."""
    first = np.int64(data[at])
    if first < 0x80:
        return first, at + 1
    more = 1 if first < 0xE0 else 2 if first < 0xF0 else 3
    code = first & (0x3F >> more)
    for n in range(1, more + 1):
        code = (code << 6) | (np.int64(data[at + n]) & 0x3F)
    return code, at + 1 + more


@njit_cached
def _kind(kinds: Any, code: int) -> Any:
    return np.int64(kinds[code]) if code < kinds.shape[0] else WORD


@njit_cached
def cut(data: Any, ends: Any, kinds: Any, first: Any, last: Any, bounds: Any) -> int:
    """Tokens of texts; letters of ASCII become lower case where they stand.

    Args:
        data: UTF-8 bytes of all texts, (bytes,), changed.
        ends: where each text ends, (texts,).
        kinds: kind of every code point of the basic plane; beyond it all are parts of words.
        first, last: filled with the bytes that each token spans, as far as they reach.
        bounds: filled with the number of tokens before each text and in all, (texts + 1,).

    Returns:
        The number of tokens.
    """
    tokens, at = 0, 0
    for text in range(ends.shape[0]):
        bounds[text] = tokens
        end = ends[text]
        for n in range(at, end):
            if 65 <= data[n] <= 90:
                data[n] += 32
        while at < end:
            begin = at
            code, at = _character(data, at)
            kind = _kind(kinds, code)
            if kind == BLANK:
                continue
            if kind == MARK:
                while at < end:
                    other, after = _character(data, at)
                    if other != code:
                        break
                    at = after
            elif kind == WORD:
                while at < end:
                    other, after = _character(data, at)
                    if other == 39 and after < end:
                        # An apostrophe between parts of a word belongs to it.
                        other, after = _character(data, after)
                    if _kind(kinds, other) != WORD:
                        break
                    at = after
            if tokens < first.shape[0]:
                first[tokens], last[tokens] = begin, at
            tokens += 1
    bounds[ends.shape[0]] = tokens
    return tokens


@njit_cached
def _hash(data: Any, begin: int, end: int) -> Any:
    """FNV-1a, its high bits folded into the low ones, which choose the place."""
    found = np.uint64(0xCBF29CE484222325)
    for n in range(begin, end):
        found = (found ^ np.uint64(data[n])) * np.uint64(0x100000001B3)
    return np.int64((found ^ (found >> np.uint64(32))) & np.uint64(0x7FFFFFFF))


@njit_cached
def _same(data: Any, a: int, b: int, length: int) -> bool:
    n = 0
    while n < length and data[a + n] == data[b + n]:
        n += 1
    return n == length


@njit_cached
def number(data: Any, first: Any, last: Any, tokens: int, codes: Any, example: Any) -> int:
    """Gives every different token a number, in the order in which they are first met.

    Args:
        codes: filled with each token's number, (at least tokens,).
        example: filled with the first token of each number, (at least tokens,).

    Returns:
        How many different tokens there are.
    """
    size = 1 << 12
    table = np.full(size, -1, np.int32)
    hashes = np.empty(size, np.int64)
    different = 0
    for token in range(tokens):
        begin, end = first[token], last[token]
        own = _hash(data, begin, end)
        place = own & (size - 1)
        while True:
            code = table[place]
            if code < 0:
                break
            other = example[code]
            if (
                hashes[code] == own
                and last[other] - first[other] == end - begin
                and _same(data, first[other], begin, end - begin)
            ):
                break
            place = (place + 1) & (size - 1)
        if code < 0:
            code = different
            table[place], hashes[code], example[code] = code, own, token
            different += 1
            if 2 * different == size:
                size *= 2
                more = np.empty(size, np.int64)
                more[:different] = hashes[:different]
                hashes = more
                table = np.full(size, -1, np.int32)
                for each in range(different):
                    place = hashes[each] & (size - 1)
                    while table[place] >= 0:
                        place = (place + 1) & (size - 1)
                    table[place] = each
        codes[token] = code
    return different


@njit_cached
def _place_of(pair: int, size: int) -> Any:
    """Where a pair's search begins (Fibonacci hashing)."""
    mixed = np.uint64(pair) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(mixed >> np.uint64(33)) & (size - 1)


@njit_cached
def index(pairs: Any, table: Any) -> None:
    """A hash table of numbers: `table` (a power of two, above twice as many) is filled with the
    place of each in `pairs`, and -1."""
    table[:] = -1
    size = table.shape[0]
    for n in range(pairs.shape[0]):
        place = _place_of(pairs[n], size)
        while table[place] >= 0:
            place = (place + 1) & (size - 1)
        table[place] = n


@njit_cached
def _term(pairs: Any, table: Any, terms: Any, pair: int) -> Any:
    size = table.shape[0]
    place = _place_of(pair, size)
    while table[place] >= 0:
        if pairs[table[place]] == pair:
            return np.int64(terms[table[place]])
        place = (place + 1) & (size - 1)
    return -1


@njit_cached
def find_terms(
    codes: Any, bounds: Any, single: Any, half: Any, ends: Any, known: Any, out: Any, until: Any
) -> None:
    """Known words and pairs of neighbours of each text.

    Args:
        codes, bounds: tokens of the texts as numbers, and where each text's begin.
        single: term of each number as a word, or -1.
        half: the number by which pairs know each number, or -1.
        ends: what stands before the first token and after the last in pairs, (2,).
        known: (pairs, table, terms): numbers of first and second half in one, first in the upper
            32 bits; their hash table; their terms.
        out: filled with terms, (at least 2 tokens + texts,).
        until: filled with the number of terms until the end of each text, (texts,).
    """
    pairs, table, terms = known
    found = 0
    for text in range(bounds.shape[0] - 1):
        before = np.int64(ends[0])
        for token in range(bounds[text], bounds[text + 1] + 1):
            last = token == bounds[text + 1]
            here = np.int64(ends[1]) if last else np.int64(half[codes[token]])
            if before >= 0 and here >= 0:
                term = _term(pairs, table, terms, (before << 32) | here)
                if term >= 0:
                    out[found] = term
                    found += 1
            if not last and single[codes[token]] >= 0:
                out[found] = single[codes[token]]
                found += 1
            before = here
        until[text] = found


@njit_cached
def count_marked(codes: Any, bounds: Any, marks: Any, counts: Any) -> None:
    """How many different tokens of each text bear each mark: bits of `marks` (numbers,) are
    counted into `counts` (texts, bits), which are 0."""
    seen = np.full(marks.shape[0], -1, np.int64)
    for text in range(bounds.shape[0] - 1):
        for token in range(bounds[text], bounds[text + 1]):
            code = codes[token]
            if marks[code] != 0 and seen[code] != text:
                seen[code] = text
                for bit in range(counts.shape[1]):
                    counts[text, bit] += (marks[code] >> bit) & 1
