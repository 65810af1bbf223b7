"""Captures the output of steps for Dagster's records, in processes that a Ctrl-C spares.

Without it a Ctrl-C ends the processes that capture, which print tracebacks.
"""

from __future__ import annotations

import signal
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Self

from dagster._core.instance.ref import compute_logs_directory
from dagster._core.storage.compute_log_manager import CapturedLogContext
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._serdes import ConfigurableClassData

from batch_predictions.orchestration.dagster_internals.event_log import dagster_folder


class HomeComputeLogManager(LocalComputeLogManager):
    """Dagster's compute log manager, whose capture processes a Ctrl-C does not reach.

    A terminal sends Ctrl-C to the whole group: they would print tracebacks, and no longer what the
    command prints.
    """

    @classmethod
    def config_type(cls) -> dict[str, object]:
        """Declares no configuration: the folder follows DAGSTER_HOME, so a home can be moved."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, object]
    ) -> Self:
        """Makes the manager of the instance in DAGSTER_HOME, or else in the home folder."""
        return cls(compute_logs_directory(str(dagster_folder())), inst_data=inst_data)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Generator[CapturedLogContext, None, None]:
        """Captures what this process prints until the end of the block."""
        with ExitStack() as stack:
            # Processes inherit the mask; a Ctrl-C meanwhile reaches this one afterwards.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            try:
                context = stack.enter_context(super().capture_logs(log_key))
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield context
