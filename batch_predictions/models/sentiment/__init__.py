"""Sentiment of texts: linear models, neural nets, an encoder, and averages of them.

Independent of Dagster and of the warehouse, except `assets`. `text/` turns texts into numbers
and has labels and splits; `models/` has the models, which `models/base.py` finds by name;
`sentiment_training` fits them, `classifier` is the stored result, `sentiment_selection` decides
which one serves; `item_aggregates` and `aspect_terms` go from reviews to items.
"""
