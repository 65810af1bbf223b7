"""Who is kept out of a list so that its effect can be measured: a hash decides, not a draw.

The same customer, list and salt give the same answer on every day and machine. Each list has a
holdout of its own (`retention`, or a campaign's id), so that no customer is kept out of everything.
"""

from __future__ import annotations

import hashlib


def place(salt: str, audience: str, user_id: str) -> float:
    """Where a customer stands between 0 and 1 for a list; below the share: held out."""
    text = f"{salt}|{audience}|{user_id}"
    return int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:8], 16) / 2**32


def place_sql(audience: str, user_id: str) -> str:
    """SQL of the same; `$holdout_salt` is bound."""
    text = f"$holdout_salt::VARCHAR || '|' || {audience} || '|' || {user_id}"
    return f"(('0x' || substr(md5({text}), 1, 8))::UBIGINT / 4294967296.0)"
