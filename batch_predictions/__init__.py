"""Machine-learning predictions in batches: one Dagster asset graph from raw days to lookups.

The folders are the stages of the lineage graph, read from left to right: sources, features,
models, inference, predictions, serving, automation. `definitions.py` lists what the platform
consists of; `cli/` is the same platform from a shell.
"""
