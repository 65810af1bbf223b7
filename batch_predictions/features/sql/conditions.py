"""SQL conditions that several queries share: what is a purchase, what counts, what is excluded.

`types` is the name of the parameter with the event types that are purchases.
"""

from __future__ import annotations

_IS_OF_TYPES = "list_contains(${types}::VARCHAR[], event_type)"
_IS_EXCLUDED_VALUE = "coalesce(list_contains($exclude_{name}::VARCHAR[], {name}), false)"

IS_EXCLUDED = f"""(
    {" or ".join(_IS_EXCLUDED_VALUE.format(name=n) for n in ("category", "subcategory", "brand"))}
    or coalesce(list_has_any(
        list_transform(map_entries(attributes), lambda entry: entry.key || chr(31) || entry.value),
        $exclude_attributes::VARCHAR[]
    ), false)
)"""
"""Whether an item of raw.items is never recommended (`source.exclude_items`)."""


def is_purchase(types: str) -> str:
    """Builds the SQL condition that an interaction is a purchase.

    A negative quantity is a return.
    """
    return f"({_IS_OF_TYPES.format(types=types)} and coalesce(quantity, 0) >= 0)"


def is_counted(types: str) -> str:
    """Builds the SQL condition that units and amount of an interaction count.

    They count for a purchase and for a return.

    A return is subtracted: its quantity and amount are negative. Returns do not count with
    `source.returns: exclude`.
    """
    return (
        f"(({_IS_OF_TYPES.format(types=types)} or {_IS_OF_TYPES.format(types='return_types')}) "
        "and (coalesce(quantity, 0) >= 0 or len($return_types::VARCHAR[]) > 0))"
    )
