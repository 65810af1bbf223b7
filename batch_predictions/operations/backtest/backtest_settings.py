"""Settings of a backtest: those of the home, with those of a file in their place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from batch_predictions.settings import FILE_NAME, SettingsError
from batch_predictions.settings.environment import PREFIX

_ISOLATION = {
    "sinks": [],
    "serving": {"url": None, "posted_url": None},
    "execution": {"instance": {}},
}
"""Settings by which a run reaches nothing outside of its home."""


def read_settings_file(file: Path | None) -> dict[str, Any]:
    """The settings of a file, without the home; none for None.

    Raises:
        SettingsError: the file has no settings, or a variable hides one of them.
    """
    replaced = yaml.safe_load(file.read_text(encoding="utf-8")) if file else {}
    if not isinstance(replaced, dict):
        raise SettingsError(f"{file} has no settings: write name: value on each line")
    replaced.pop("home", None)
    _refuse_hidden(file, replaced)
    return replaced


def settings_text(home: Path, replaced: Mapping[str, Any]) -> str:
    """The file of settings of a home that runs past weeks: it reaches nothing outside of it.

    Args:
        home: whose own file of settings holds, where it has one.
        replaced: settings that replace those of the home.
    """
    file = home / FILE_NAME
    settings = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}
    return str(yaml.safe_dump(_replace(_replace(settings or {}, replaced), _ISOLATION)))


def _refuse_hidden(file: Path | None, replaced: Mapping[str, Any]) -> None:
    """Refuses a file of which a variable hides a setting: both sides would be the same."""
    variables = [name for name in os.environ if name.startswith(PREFIX)]
    for path in _leaves(replaced):
        setting = f"{PREFIX}{'__'.join(path)}".upper()
        for name in variables:
            if f"{setting}__".startswith(f"{name}__") or name.startswith(f"{setting}__"):
                raise SettingsError(
                    f"{file}: the variable {name} comes before {'.'.join(path)}: write its value "
                    f"into {FILE_NAME} and unset it"
                )


def _leaves(settings: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from ((name, *path) for path in _leaves(value))
        else:
            yield (name,)


def _replace(settings: Mapping[str, Any], replaced: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces settings section by section; null and {} replace a value too."""
    merged = dict(settings)
    for name, value in replaced.items():
        section = merged.get(name)
        is_section = isinstance(section, dict) and isinstance(value, dict) and value
        merged[name] = _replace(section, value) if is_section and section else value
    return merged
