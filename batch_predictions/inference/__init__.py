"""The batch engine: turns a declaration of a prediction into a resumable, sharded, checked asset.

`stage` writes the rows to score as shards, `score` sends every shard through a model and keeps its
result by content, `load` counts that nothing was lost and replaces the partition.
"""
