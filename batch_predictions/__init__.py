"""Machine-learning predictions in batches: one Dagster asset graph from raw days to lookups.

The folders are the stages of the lineage graph, read from left to right: sources, features,
models, inference, predictions, serving, automation. `definitions.py` lists what the platform
consists of; `cli/` is the same platform from a shell.
"""

import os

# Idle threads of OpenMP sleep, as LightGBM's and PyTorch's: by default they spin until the others
# are done, which takes the cores from whoever has work (docs/performance.md). Read once, when the
# first of these libraries is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
