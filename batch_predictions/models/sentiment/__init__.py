"""Sentiment of texts: linear models, neural nets, an encoder, and averages of them.

Independent of Dagster and of the warehouse, except `assets`. `text/` turns texts into numbers;
`data` has labels and splits; `models/` has the models, which `registry` finds by name; `training`
fits them, `classifier` is the stored result, `selection` decides which one serves;
`item_aggregates` and `aspects` go from reviews to items.
"""
