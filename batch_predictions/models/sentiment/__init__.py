"""Sentiment of texts: linear models, nets and their average behind one contract.

Pure: nothing here knows Dagster or the warehouse. `documents` and `languages` read texts, `data`
makes labels and splits, `linear`, `nets` and `encoder` are parts, `classifier` is what is stored
and scores, `fitting` makes one of a name, `selection` chooses between names.
"""
