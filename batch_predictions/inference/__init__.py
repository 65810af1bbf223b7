"""The batch engine: turns a declared prediction into a resumable, sharded, checked asset.

`stage` writes the rows to score as shards, `score` scores every shard that has no result yet, and
`load` validates the results and replaces the partition.
"""
