"""The settings as a commented YAML file."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from batch_predictions.settings.loading import Settings


def as_yaml(chosen: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """The settings as a YAML text in which every key is explained.

    Args:
        chosen: section to key to value; these keys are written live, all others commented out
            with their defaults.
    """
    chosen = chosen or {}
    lines = [
        "# Settings of batch_predictions. To change one, uncomment its line and its section's.",
        "# The environment wins over this file: BATCH_PREDICTIONS_SOURCE__KIND=files",
        "",
    ]
    for name, default in (("plugins", "[]"), ("predictions", "{}")):
        described = _wrapped(Settings.model_fields[name].description or "")
        lines += [*(f"# {line}" for line in described), f"# {name}: {default}"]
    for name, section in Settings.model_fields.items():
        model = section.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            continue
        live = chosen.get(name, {})
        mark = "" if live else "# "
        lines += ["", *(f"# {line}" for line in _wrapped(model.__doc__ or "")), f"{mark}{name}:"]
        for key, field in model.model_fields.items():
            lines += [f"#   # {line}" for line in _wrapped(f"{field.description}{_choices(field)}")]
            # No default here reads the values, without which pydantic 2.10 refuses.
            default = field.get_default(call_default_factory=True, validated_data={})
            mark = "" if key in live else "# "
            lines.append(f"{mark}  {key}: {_scalar(live.get(key, default))}".rstrip())
    return "\n".join(lines) + "\n"


def _scalar(value: Any) -> str:
    """A value as YAML on one line; nothing for None, which YAML reads as null."""
    if value is None:
        return ""
    value = str(value) if isinstance(value, Path) else value
    return yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).split(
        "\n"
    )[0]


def _choices(field: FieldInfo) -> str:
    annotation = field.annotation
    inner = get_args(annotation)[0] if get_origin(annotation) is list else annotation
    return f" One of: {', '.join(get_args(inner))}." if get_origin(inner) is Literal else ""


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), 92)
