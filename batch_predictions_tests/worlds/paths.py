"""Where the checkout lies, and the data and checks that may stand beside it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
CONTRACT = SHARED / "checks" / "contract.py"
MOVIELENS = SHARED / "data" / "movielens_100k"
