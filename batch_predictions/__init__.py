"""Machine-learning predictions in batches: one Dagster asset graph from raw days to lookups.

What a package of your own needs is imported from here: the names in `__init__.pyi`, which
public_interface.md explains. Nothing deeper is stable. A name is loaded when it is used first,
so that a lookup does not load Dagster.

The folders are the stages of the lineage graph, read from left to right: sources, features,
models, inference, predictions, evaluation, serving; over them planning, operations and
orchestration. `definitions.py` lists what the platform consists of; `cli/` is the same platform
from a shell.
"""

import os

import lazy_loader

from batch_predictions.core.moved_modules import find_moved_modules

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# Idle threads of OpenMP (LightGBM's, PyTorch's) spin for some microseconds, and then sleep: as long
# as by default, they take the cores from whoever has work (performance.md). Read once, when
# the first of these libraries is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

find_moved_modules()
