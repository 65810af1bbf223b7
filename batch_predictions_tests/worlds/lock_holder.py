"""Another process that holds a home's lock."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def lock_holder(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the home's lock until it reads a line."""
    script = (
        "import sys; from pathlib import Path\n"
        "from batch_predictions.core.home_lock import home_lock\n"
        "with home_lock(Path(sys.argv[1]), 'the nightly run'):\n"
        "    print('held', flush=True); sys.stdin.readline()\n"
        "print('let go', flush=True); sys.stdin.readline()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
