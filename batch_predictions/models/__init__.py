"""The models, as plain machine learning: arrays and Arrow tables in, arrays and tables out.

Nothing in `recommender/` or `demographic/` knows Dagster, DuckDB or a home folder, so that each
model can be fitted, tested and measured in three lines. Heavy libraries are imported where used.
"""
