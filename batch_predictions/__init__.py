"""Machine-learning predictions in batches: one Dagster asset graph from raw days to lookups.

The folders are the stages of the lineage graph, read from left to right: sources, features,
models, inference, predictions, serving, automation. `definitions.py` lists what the platform
consists of; `cli/` is the same platform from a shell.
"""

import os

# Idle threads of OpenMP (LightGBM's, PyTorch's) spin for some microseconds, and then sleep: as long
# as by default, they take the cores from whoever has work (docs/performance.md). Read once, when
# the first of these libraries is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
