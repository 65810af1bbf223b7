"""From text to numbers: tokens, n-grams, word pieces, languages and word vectors."""
