"""The holdout: customers who are kept off a list so that its effect can be measured.

A hash of salt, list and customer decides, so that a customer is in or out of a list's holdout on
every day and every machine. Each list (`retention`, or a campaign) has a different holdout.
"""

from __future__ import annotations


def hash_fraction_sql(audience: str, user_id: str) -> str:
    """Builds SQL of a number in [0, 1), uniform over customers.

    The holdout is the customers whose number is below its share.

    Args:
        audience: SQL of the list's name.
        user_id: SQL of the customer. The parameter `$holdout_salt` must be bound.
    """
    text = f"$holdout_salt::VARCHAR || '|' || {audience} || '|' || {user_id}"
    return f"(('0x' || substr(md5({text}), 1, 8))::UBIGINT / 4294967296.0)"
