"""The error of a wrong setting."""

from __future__ import annotations


class SettingsError(ValueError):
    """A setting is unknown or has an invalid value; the message names the key and the remedy."""
