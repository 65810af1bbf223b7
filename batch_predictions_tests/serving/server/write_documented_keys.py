"""Adds the keys of the description to documented_keys.txt; none is removed.

python batch_predictions_tests/serving/server/write_documented_keys.py
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from batch_predictions_tests.serving.server.test_openapi import (
    DOCUMENTED_KEYS,
    description,
    documented_keys,
)

if __name__ == "__main__":
    committed = DOCUMENTED_KEYS.read_text(encoding="utf-8") if DOCUMENTED_KEYS.exists() else ""
    keys = {*committed.splitlines(), *documented_keys(description())}
    DOCUMENTED_KEYS.write_text("\n".join(sorted(keys)) + "\n", encoding="utf-8")
