"""Stops and starts a PostgreSQL server, as `.ci/with-postgres` makes one."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import sqlalchemy as sa


class Database:
    """A server of this machine whose data folder this process may read.

    Args:
        server: URL of a database of the server, of a superuser.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        engine = sa.create_engine(server)
        with engine.connect() as db:
            self._folder = Path(db.exec_driver_sql("show data_directory").scalar_one())
        engine.dispose()

    def stop(self) -> None:
        """Ends the server at once, as a crash does: connections break, and it recovers later."""
        pid = int((self._folder / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        while (self._folder / "postmaster.pid").exists():
            time.sleep(0.05)

    def start(self) -> None:
        """Starts it with the options it had; returns when it answers."""
        command = shlex.split((self._folder / "postmaster.opts").read_text())
        owner = self._folder.stat().st_uid
        subprocess.Popen(
            command,
            user=owner if os.geteuid() == 0 else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        engine = sa.create_engine(self._server)
        for _ in range(200):
            try:
                with engine.connect():
                    break
            except sa.exc.OperationalError:
                time.sleep(0.1)
        else:
            raise RuntimeError("the PostgreSQL server does not answer")
        engine.dispose()
