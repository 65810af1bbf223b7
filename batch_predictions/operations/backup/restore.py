"""Makes a home of a backup."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from batch_predictions.core.durability import fsync_folder, fsync_tree
from batch_predictions.operations.backup.pool import Backup, Pool
from batch_predictions.operations.backup.storage import BackupError


def restore_backup(
    backup: Backup,
    pool: Pool,
    home: Path,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Writes the files of a backup into a home that does not exist yet.

    The home is there when all its files are, with the hashes that they had.

    Args:
        backup: of the pool.
        pool: with its bytes.
        home: the home folder, which must not exist or be empty.
        on_progress: called with the number of files done, and of all.

    Raises:
        BackupError: the home is not empty, or a file is missing or damaged.
    """
    if home.exists() and any(home.iterdir()):
        raise BackupError(f"{home} is not empty: restore into another --home, or move it away")
    home.parent.mkdir(parents=True, exist_ok=True)
    draft = home.with_name(f".restore-{home.name}-{uuid.uuid4().hex[:8]}")
    draft.mkdir(mode=0o700)
    try:
        for number, file in enumerate(backup.files):
            target = draft / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            pool.copy_to(file, target)
            on_progress(number + 1, len(backup.files))
        fsync_tree(draft)
        if home.exists():
            home.rmdir()
        draft.replace(home)
        fsync_folder(home.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
