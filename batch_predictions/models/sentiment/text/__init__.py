"""Text to numbers: tokens, n-grams, word pieces, languages, word vectors."""
