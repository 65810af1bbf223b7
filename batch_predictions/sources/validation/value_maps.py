"""Maps of a source's values to those of the raw tables, from the setting `source.values`."""

from __future__ import annotations

from collections.abc import Mapping

from batch_predictions.sources.base import SourceError, raw_table
from batch_predictions.sources.validation.column_rules import column_rules
from batch_predictions.warehouse.path_sql import quote_literal

ValueMap = Mapping[str, str | None]
"""Value of the source to value of the raw table; None: a missing value."""


def validate_values(values: Mapping[str, Mapping[str, ValueMap]]) -> None:
    """Checks the columns and the values of the setting `source.values`.

    Raises:
        SourceError: a table or column is unknown, two values differ only in case, or a value is
            none that the column may have; the message says what to write.
    """
    for table_name, columns in values.items():
        table = raw_table(table_name, "source.values")
        rules = {rule.name: rule for rule in column_rules(table, "UTC")}
        for name, value_map in columns.items():
            setting = f"source.values.{table_name}.{name}"
            if name not in rules:
                raise SourceError(
                    f"{setting}: raw.{table_name} has no such column; write one of "
                    f"{', '.join(rules)}"
                )
            keys = [_fold(key) for key in value_map]
            repeated = [key for key in value_map if keys.count(_fold(key)) > 1]
            if repeated:
                raise SourceError(
                    f"{setting}: {' and '.join(repeated)} are the same value, because case and "
                    "spaces around a value do not count: keep one of them"
                )
            allowed = rules[name].allowed_values
            wrong = [v for v in value_map.values() if v is not None and v not in allowed]
            if allowed and wrong:
                raise SourceError(
                    f"{setting}: {wrong[0]!r} is not a value of {name}: map to one of "
                    f"{', '.join(allowed)}, or to null"
                )


def mapped_value_sql(raw: str, value_map: ValueMap, otherwise: str) -> str:
    """SQL of the mapped value.

    Args:
        raw: SQL of the value as read.
        value_map: the map.
        otherwise: SQL for values that are not in the map.
    """
    cases = " ".join(
        f"when {quote_literal(_fold(key))} then {'null' if to is None else quote_literal(to)}"
        for key, to in value_map.items()
    )
    return f"case lower(trim({raw}::VARCHAR)) {cases} else {otherwise} end"


def is_mapped_sql(raw: str, value_map: ValueMap) -> str:
    """SQL of whether a value is in the map."""
    keys = ", ".join(quote_literal(_fold(key)) for key in value_map)
    return f"coalesce(lower(trim({raw}::VARCHAR)) in ({keys}), false)"


def _fold(value: str) -> str:
    return value.strip().lower()
