"""Reasons of refused rows, grouped: without their values and row numbers."""

from __future__ import annotations

_VALUE = "'''(.*?)''( |:|$)'"  # a value may contain quotes, such as 1'234.50


def general_reason_sql(reason: str) -> str:
    """SQL of a reason without its first value and without numbers of rows and lines."""
    return (
        f"regexp_replace(regexp_replace({reason}, {_VALUE}, '…\\2'), "
        "'\\b(line|row) \\d+', '\\1 …', 'g')"
    )


def value_in_reason_sql(reason: str) -> str:
    """SQL of the first value that a reason quotes; empty if there is none."""
    return f"regexp_extract({reason}, {_VALUE}, 1)"
