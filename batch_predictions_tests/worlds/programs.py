"""Python programs in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def run_python(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Runs Python with arguments, and asserts that it succeeds if it is to be checked."""
    command = [sys.executable, *arguments]
    process = subprocess.run(
        command, env=env, cwd=cwd, capture_output=True, text=True, timeout=1200
    )
    assert not check or process.returncode == 0, process.stderr
    return process
