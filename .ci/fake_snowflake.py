"""Runs fakesnow's server at a port, with what ADBC's bulk ingest needs and it does not parse."""

from __future__ import annotations

import re
import sys

import uvicorn
from fakesnow.cursor import FakeSnowflakeCursor
from fakesnow.server import app

_execute = FakeSnowflakeCursor.execute


def execute(cursor, command, *arguments, **options):
    """Executes a statement without the options of Parquet files, which COPY is given."""
    command = re.sub(r"(TYPE = PARQUET) USE_LOGICAL_TYPE[^)]*", r"\1", command)
    if command.startswith("COPY INTO IDENTIFIER"):
        command += " FILE_FORMAT = (TYPE = PARQUET)"
    return _execute(cursor, command, *arguments, **options)


FakeSnowflakeCursor.execute = execute
uvicorn.run(app, port=int(sys.argv[1]), access_log=False)
