"""Paths of the checkout, and of data and checks in a folder next to it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
CONTRACT = SHARED / "checks" / "contract.py"
MOVIELENS = SHARED / "data" / "movielens_100k"
