"""The base of every section of the settings, and the error of a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A section: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


def _text_of(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


Location = Annotated[str, BeforeValidator(_text_of)]
"""A folder, or a URL, as a text."""


class SettingsError(ValueError):
    """A setting is unknown or has an invalid value; the message names the key and the remedy."""
