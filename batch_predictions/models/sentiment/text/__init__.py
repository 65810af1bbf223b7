"""Turns text into numbers: tokens, n-grams, word pieces, languages and word vectors."""
