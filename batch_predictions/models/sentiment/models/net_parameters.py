"""Typed parameters of sentiment models, filled from the mapping `sentiment.options`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_args, get_type_hints

Parameters = TypeVar("Parameters")


def build_parameters(kind: type[Parameters], options: Mapping[str, float]) -> Parameters:
    """Builds a dataclass of parameters from options; those without a field are ignored.

    Args:
        kind: a dataclass with fields of type int, float or bool, perhaps optional.
        options: values by field name; a field without an option keeps its default.
    """
    types = get_type_hints(kind)
    values = {
        name: _convert(options[name], types[name])
        for name in parameter_names(kind)
        if name in options
    }
    return kind(**values)


def parameter_names(kind: type) -> tuple[str, ...]:
    """Names of the fields of a dataclass of parameters."""
    return tuple(field.name for field in fields(kind))


def _convert(value: float, declared: Any) -> Any:
    """A number as the declared type: `int`, `float`, `bool`, or one of these `| None`."""
    plain = next((option for option in get_args(declared) if option is not type(None)), declared)
    return plain(value)
